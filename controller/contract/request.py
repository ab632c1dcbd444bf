"""A request for a build: from the bytes that somebody sent to one normal document.

The same document comes as the body of submitJob, as arguments of a tool, from `nbs submit`, and as
the payload of `nomad job dispatch`. All go through `normalise`; only a dispatch by hand, through
`read`, may lack an owner and may give some fields as Nomad meta.

The normal document has every field of the schema, null where there is neither value nor default,
times in seconds, sizes in MB, and one field more: `image`, the repository to publish to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from controller.contract import image_index, image_names, payload, rerun
from controller.contract.field_error import FieldError
from controller.contract.json_schema import Problem, validate

META_KEYS = ("repo_url", "git_ref", "registry_url", "image_name")
HAND_DISPATCH_OWNER = "dispatch"
_SCHEMA_FILE = Path(__file__).with_name("job_config.schema.json")

HINTS = {
    "deploy_dir": "it was an option of the old command line; leave it out",
    "test_entry_point": "write test.entry_point",
    "test.vault_policies": "tests get no credentials; leave it out",
    "test.vault_secrets": "tests get no credentials; leave it out",
    "test.gpu_required": "name a build class with a GPU in class",
    "test.gpu_count": "name a build class with a GPU in class",
    "test.constraints": "name a build class on the wanted nodes in class",
    "test.resource_limits": "write resource_limits.test",
}
_NESTED = ("test", "resource_limits", "build", "publish")
_LISTS = (("image_tags",), ("test_commands",), ("platforms",), ("test", "commands"))


class RequestError(ValueError):
    """A request that cannot be built, with everything that is wrong with it.

    `valid` are the fields that are well, so that others can look at those at the same time.
    """

    def __init__(self, problems: list[Problem], valid: Mapping[str, Any] | None = None) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
        self.valid = dict(valid or {})


def read(given: bytes | None, meta: Mapping[str, str]) -> dict[str, Any]:
    """The normal document of a dispatch: its payload, with meta for what that lacks.

    Raises RequestError.
    """
    try:
        packed = payload.joined(given or b"", meta)
        document = fold(payload.unpack(packed)) if packed else {}
    except FieldError as error:
        raise _one("payload", error.problem, error.fix) from error
    again, problems = rerun.take(document)
    index, wrong = image_index.take(document)
    if problems or wrong:
        raise RequestError([*problems, *wrong])
    for key in META_KEYS:
        if meta.get(key):
            document.setdefault(key, meta[key])
    document.setdefault("owner", HAND_DISPATCH_OWNER)
    internal = {rerun.FIELD: again, image_index.FIELD: index}
    return normalise(document) | {name: value for name, value in internal.items() if value}


def decode(packed: bytes) -> Any:
    """The JSON value of a payload, plain or compressed with gzip. Raises RequestError."""
    try:
        return payload.unpack(packed)
    except FieldError as error:
        raise _one("payload", error.problem, error.fix) from error


def encode(document: Mapping[str, Any]) -> bytes:
    """What carries a normal document. Raises PayloadTooLargeError."""
    return payload.pack(
        {name: value for name, value in document.items() if name != "image" and value is not None}
    )


def normalise(given: Any) -> dict[str, Any]:
    """The normal document. Raises RequestError with every problem at once."""
    document, problems = validate(schema(), fold(given), HINTS)
    wrong = {problem.field for problem in problems}
    if (
        isinstance(document, dict)
        and "registry_url" in document
        and not wrong & {"registry_url", "image_name"}
    ):
        problems += image_problems(document)
    if problems:
        raise RequestError(problems, _valid(document, {problem.field for problem in problems}))
    return complete(document)


def _valid(document: Any, wrong: set[str]) -> dict[str, Any]:
    if not isinstance(document, dict):
        return {}
    wrong = {re.split(r"[.\[]", field)[0] for field in wrong}
    found = {name: value for name, value in document.items() if name not in wrong}
    if "registry_url" in found and "image_name" not in wrong:
        found["image"] = image_names.join(found["registry_url"], found.get("image_name"))
    return found


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """A valid document with null for each absent field, and `image`."""
    properties = schema()["properties"]
    whole: dict[str, Any] = {name: document.get(name) for name in properties}
    nested = properties["test"]["properties"]
    for name in ("image_tags", "platforms"):
        whole[name] = list(dict.fromkeys(whole[name]))
    whole["test"] = {name: (document.get("test") or {}).get(name) for name in nested}
    whole["image"] = image_names.join(whole["registry_url"], whole["image_name"])
    return whole


def image_problems(document: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with registry_url and image_name taken together."""
    try:
        image_names.join(document["registry_url"], document.get("image_name"))
    except FieldError as error:
        return [Problem("image_name", f"with registry_url {error.problem}", error.fix)]
    return []


def fold(given: Any) -> dict[str, Any]:
    """The document without its wrapper, nulls and second names. Raises RequestError.

    `test_commands` and `test_timeout` are the seed's names for `test.commands` and `test.timeout`.
    Lists may come as a string: some clients write JSON into strings.
    """
    if isinstance(given, dict) and set(given) == {"job_config"}:
        given = given["job_config"]
    if not isinstance(given, dict):
        raise _one("job_config", "is not a JSON object", "send the fields of a build as one object")
    document = _without_nulls(given)
    for path in _LISTS:
        holder = document.get(path[0]) if len(path) == 2 else document
        if isinstance(holder, dict) and isinstance(holder.get(path[-1]), str):
            holder[path[-1]] = _as_list(holder[path[-1]])
    problems = [
        problem
        for name in ("commands", "timeout")
        for problem in _move_to_test(document, f"test_{name}", name)
    ]
    if problems:
        raise RequestError(problems)
    return document


def _move_to_test(document: dict[str, Any], old: str, new: str) -> list[Problem]:
    test = document.get("test", {})
    if old not in document or not isinstance(test, dict):
        return []
    if new in test and test[new] != document[old]:
        return [Problem(old, f"differs from test.{new}", f"give one of them, best test.{new}")]
    document["test"] = test | {new: document.pop(old)}
    return []


def _without_nulls(value: dict[str, Any], depth: int = 2) -> dict[str, Any]:
    """Null means absent for our fields; within a caller's own names (test.env) it is an error."""
    return {
        name: _without_nulls(part, depth - 1)
        if depth and name in _NESTED and isinstance(part, dict)
        else part
        for name, part in value.items()
        if part is not None
    }


def _as_list(text: str) -> list[Any]:
    try:
        parsed = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, list) else [text]


@cache
def schema() -> dict[str, Any]:
    """The schema of a request, generated from the controller's model and kept beside this file."""
    return dict(json.loads(_SCHEMA_FILE.read_text(encoding="utf-8")))


def _one(field: str, problem: str, fix: str) -> RequestError:
    return RequestError([Problem(field, problem, fix)])
