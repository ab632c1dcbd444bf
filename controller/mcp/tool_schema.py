"""JSON Schemas as tools show them: a model reads all of them before it calls anything.

What a model does not need to make a call is left out: examples beside a description, formats,
bounds of lengths, defaults that are empty. The service checks every call with the whole schema, and
its answers name what is wrong, so nothing is lost by a short one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.operations.operation import Operation

Schema = dict[str, Any]

_TOLD = ("description", "enum", "minimum", "maximum", "default")
_EMPTY: tuple[Any, ...] = (None, "", {}, [], False)
_ANYTHING = {"array": {"items": {"type": "string"}}}
_DEEPEST = 2  # objects within objects of a request: what they hold is said by their siblings
_JOB_CONFIG = {
    "type": "object",
    "properties": {
        "job_config": {"type": "object", "description": "The same fields as submitJob takes."}
    },
    "required": ["job_config"],
}


def input_schema(operation: Operation, *, whole_job_config: bool) -> Schema:
    """What a tool accepts. The job_config's fields stand only where `whole_job_config` is true."""
    if operation.takes_job_config and not whole_job_config:
        return _JOB_CONFIG
    shown = _accepted(operation.input_schema, depth=0)
    for name, value in operation.tool_defaults.items():
        shown["properties"][name]["default"] = value
    return shown


def output_schema(operation: Operation) -> Schema:
    """What a tool answers: its fields, and of objects within them no more than that they are."""
    return _answered(operation.output_schema, depth=0)


def _accepted(schema: Mapping[str, Any], depth: int) -> Schema:
    shown = _typed(schema["type"])
    shown |= {name: schema[name] for name in _TOLD if schema.get(name) not in _EMPTY}
    if depth == 0:  # the tool's own description says it
        shown.pop("description", None)
    if depth == 1 and "default" not in shown and _is_text(schema) and schema.get("examples"):
        shown["examples"] = schema["examples"][:1]
    if "properties" in schema:
        shown.pop("default", None)  # its fields have their own
        if depth < _DEEPEST:
            shown["properties"] = {
                name: _accepted(part, depth + 1) for name, part in schema["properties"].items()
            }
            if schema.get("required"):
                shown["required"] = schema["required"]
    if isinstance(schema.get("items"), dict):
        shown["items"] = _typed(schema["items"]["type"])
    if isinstance(schema.get("additionalProperties"), dict):
        shown["additionalProperties"] = _typed(schema["additionalProperties"]["type"])
    return shown


def _typed(kind: str | list[str]) -> Schema:
    """A type as every client can read it: some know no lists of types, and no array of anything."""
    if isinstance(kind, list):
        return {"anyOf": [_typed(one) | _ANYTHING.get(one, {}) for one in kind]}
    return {"type": kind}


def _is_text(schema: Mapping[str, Any]) -> bool:
    return "string" in schema["type"]  # alone, or in a list of types


def _answered(schema: Mapping[str, Any], depth: int) -> Schema:
    shown: Schema = {}
    if "type" in schema:
        shown["type"] = schema["type"]
    if depth == 0:
        shown["properties"] = {
            name: _answered(part, depth + 1) for name, part in schema["properties"].items()
        }
        shown["required"] = schema.get("required", [])
    elif schema.get("description") and "properties" not in schema:
        shown["description"] = schema["description"]
    return shown
