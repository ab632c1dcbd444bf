"""The API's own description: valid, whole, and safe to show."""

from __future__ import annotations

from html.parser import HTMLParser

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

from controller.contract.reasons import REASONS
from controller.operations import OPERATIONS
from controller.reference import description, openapi


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(openapi.document()).validate()


def test_every_operation_is_in_it_at_both_bases() -> None:
    paths = openapi.document()["paths"]
    for operation in OPERATIONS:
        for base in ("/mcp", "/json"):
            responses = paths[f"{base}/{operation.name}"]["post"]["responses"]
            assert {"200", "400", "422", "503"} <= responses.keys()
    identifiers = [told["operationId"] for path in paths.values() for told in path.values()]
    assert len(identifiers) == len(set(identifiers))


def test_examples_are_valid_by_the_schema_that_shows_them() -> None:
    for operation in OPERATIONS:
        jsonschema.validate(description.example(operation), operation.input_schema)
        operation.read(description.example(operation))


def test_every_schema_describes_its_fields() -> None:
    for operation in OPERATIONS:
        for field in description.fields(operation.input_schema):
            assert field.description, f"{operation.name}: {field.name}"


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.wanted: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.found.add(str(named["id"]))
        if (named.get("href") or "").startswith("#"):
            self.wanted.add(str(named["href"])[1:])


def test_the_page_has_every_anchor_that_answers_lead_to() -> None:
    anchors = _Anchors()
    anchors.feed(description.render("page.html.j2"))
    assert anchors.wanted <= anchors.found
    assert {f"reason-{name}" for name in REASONS} <= anchors.found
    assert {f"error-{error.name}" for error in description.all_errors()} <= anchors.found
