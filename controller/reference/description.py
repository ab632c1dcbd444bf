"""Operations, errors and reasons as rows for people; the page and docs/reference.md show them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller import __version__, errors
from controller.contract.reasons import REASONS
from controller.operations import OPERATIONS
from controller.operations.operation import Operation
from controller.reference import openapi

if TYPE_CHECKING:
    from markupsafe import Markup

# How a web page follows a build; each time the stream breaks it gets another ticket and goes on.
BROWSER = """\
async function follow(job_id, token, show, after = "") {
  const headers = {Authorization: `Bearer ${token}`}, body = JSON.stringify({job_id});
  const {url} = await (await fetch("/mcp/streamTicket", {method: "POST", headers, body})).json();
  const events = new EventSource(`${url}&after=${after}`), end = () => events.close();
  const take = (event) => { after = event.lastEventId; show(JSON.parse(event.data)); };
  for (const kind of ["status", "phase", "log", "missed"]) events.addEventListener(kind, take);
  events.addEventListener("end", (event) => { end(); take(event); });
  events.onerror = () => { end(); setTimeout(follow, 1000, job_id, token, show, after); };
}"""
_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a document. `name` is its path, such as `test.commands`."""

    name: str
    kind: str
    required: bool
    default: str
    description: str
    example: str


def fields(schema: Mapping[str, Any], above: str = "") -> Iterator[Field]:
    """The fields of an object's schema, those of nested objects after their holder."""
    for name, part in schema.get("properties", {}).items():
        path = f"{above}{name}"
        default = part.get("default")
        examples = part.get("examples")
        yield Field(
            path,
            _kind(part),
            name in schema.get("required", ()),
            "" if default in (None, "", [], {}) else json.dumps(default),
            part.get("description", ""),
            json.dumps(examples[0], ensure_ascii=False) if examples else "",
        )
        yield from fields(part, f"{path}.")


def example(operation: Operation) -> dict[str, Any]:
    """A request that shows what is required, and nothing else."""
    schema = operation.input_schema
    return {name: schema["properties"][name]["examples"][0] for name in schema.get("required", ())}


def all_errors() -> list[type[errors.ServiceError]]:
    """Every error that some call may end with, by status and name."""
    found = {kind for operation in OPERATIONS for kind in openapi.refusals(operation)}
    found |= {errors.UnauthenticatedError, errors.InvalidTicketError, errors.ForbiddenError}
    found |= {errors.TooManyTicketsError}
    return sorted(found, key=lambda kind: (kind.status, kind.name))


@cache
def render(template: str) -> str:
    """The description through one of the templates beside this module."""
    import jinja2  # only here: the page is seldom asked for

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(fields=fields, example=example, refusals=openapi.refusals)
    environment.filters["code"] = _code
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(
        version=__version__,
        browser=BROWSER,
        operations=OPERATIONS,
        errors=all_errors(),
        reasons=list(REASONS.values()),
    )


def _code(text: str) -> Markup:
    """Text as HTML, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _kind(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(json.dumps(value) for value in part["enum"])
    kinds = part.get("type", "any")
    told = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "array" in told and "items" in part:
        told += f" of {_kind(part['items'])}"
    bounds = [f"{part[name]}" for name in ("minimum", "maximum") if name in part]
    return f"{told} {'…'.join(bounds)}".strip() if bounds else told
