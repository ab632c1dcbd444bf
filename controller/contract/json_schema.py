"""A small JSON-Schema validator for the schema that the pydantic model of a request generates.

The runner has only the standard library, and both sides must agree to the letter. So this knows
exactly the keywords that our schema uses, refuses a schema with any other, fills in defaults, and
puts each value into the normal form that its `format` gives. It collects every problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.contract.field_error import FieldError
from controller.contract.fields import FORMATS

_NOTES = {"$schema", "$id", "title", "description", "examples", "default"}
_KEYWORDS = _NOTES | {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "maxProperties",
    "items",
    "minItems",
    "maxItems",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "format",
}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_SHOWN = 80  # characters of a value that a message quotes
# People put secrets into build arguments, URLs and headers all the same.
_NEVER_SHOWN = {
    "build-secret",
    "build-ssh-key",
    "command",
    "line",
    "patch",
    "text",
    "webhook-secret",
    "webhook-url",
    "webhook-value",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document: where (`test.commands[0]`), what, and the next step."""

    field: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}; {self.fix}"


def validate(
    schema: Mapping[str, Any], value: Any, hints: Mapping[str, str]
) -> tuple[Any, list[Problem]]:
    """`value` in its normal form, and everything that is wrong with it.

    `hints` says what to do about fields that other versions of this service know and this one does
    not, by path. Raises KeyError for a schema with an unknown keyword, type or format.
    """
    problems: list[Problem] = []
    return _Check(problems, hints).value(schema, value, ""), problems


class _Check:
    def __init__(self, problems: list[Problem], hints: Mapping[str, str]) -> None:
        self._problems = problems
        self._hints = hints

    def value(self, schema: Mapping[str, Any], value: Any, path: str) -> Any:
        if unknown := schema.keys() - _KEYWORDS:
            raise KeyError(f"the schema uses a keyword that is not implemented: {sorted(unknown)}")
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_TYPES[name](value) for name in types):
            self._add(path, f"must be {_either(types)}, not {_kind(value)}", _example(schema))
            return value
        if "enum" in schema and value not in schema["enum"]:
            self._add(path, f"is {_show(value)}", f"write {_either(schema['enum'])}")
            return value
        if not self._within(schema, value, path):
            return value
        if isinstance(value, dict):
            value = self._object(schema, value, path)
        elif isinstance(value, list) and "items" in schema:
            value = [
                self.value(schema["items"], item, f"{path}[{number}]")
                for number, item in enumerate(value)
            ]
        if "format" in schema:
            return self._format(schema, value, path)
        return value

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], path: str) -> Any:
        known: Mapping[str, Any] = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        result: dict[str, Any] = {}
        for name, part in known.items():
            where = f"{path}.{name}" if path else name
            if name in value:
                result[name] = self.value(part, value[name], where)
            elif name in schema.get("required", ()):
                self._add(where, "is missing", _example(part))
            elif "default" in part:
                result[name] = _copy(part["default"])
        for name in value.keys() - known.keys():
            where = f"{path}.{name}" if path else name
            if rest is False:
                self._unknown(name, where, known)
                continue
            self.value(schema.get("propertyNames", {"type": "string"}), name, where)
            result[name] = self.value(rest, value[name], where) if rest is not True else value[name]
        # The order of the document for what the schema does not order.
        return {name: result[name] for name in [*known, *value] if name in result}

    def _unknown(self, name: str, where: str, known: Mapping[str, Any]) -> None:
        if where in self._hints:
            self._add(where, "is not supported by this version", self._hints[where])
            return
        import difflib  # only here: the runner starts faster without

        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else f"known fields: {', '.join(known)}"
        self._add(where, "is not a known field", fix)

    def _within(self, schema: Mapping[str, Any], value: Any, path: str) -> bool:
        measured, unit, names = value, "", ("minimum", "maximum")
        if isinstance(value, str):
            measured, unit, names = len(value), "characters", ("minLength", "maxLength")
        elif isinstance(value, list):
            measured, unit, names = len(value), "entries", ("minItems", "maxItems")
        elif isinstance(value, dict):
            measured, unit, names = len(value), "entries", ("", "maxProperties")
        least, most = schema.get(names[0]), schema.get(names[1])
        if least is not None and measured < least:
            self._add(
                path, f"is {measured} {unit}".strip(), f"give at least {least} {unit}".strip()
            )
            return False
        if most is not None and measured > most:
            self._add(path, f"is {measured} {unit}".strip(), f"give at most {most} {unit}".strip())
            return False
        return True

    def _format(self, schema: Mapping[str, Any], value: Any, path: str) -> Any:
        try:
            return FORMATS[schema["format"]](value)
        except FieldError as error:
            shown = "the value" if schema["format"] in _NEVER_SHOWN else _show(value)
            self._add(path, f"{shown} {error.problem}", error.fix)
            return value

    def _add(self, path: str, problem: str, fix: str) -> None:
        self._problems.append(Problem(_clean(path) or "job_config", problem, fix))


def _copy(default: Any) -> Any:
    if isinstance(default, dict):
        return {name: _copy(value) for name, value in default.items()}
    return list(default) if isinstance(default, list) else default


def _either(names: list[Any]) -> str:
    return " or ".join(str(name) for name in names)


def _kind(value: Any) -> str:
    return next(
        (name for name, fits in _TYPES.items() if fits(value)),
        "null" if value is None else "number",
    )


def _example(schema: Mapping[str, Any]) -> str:
    if schema.get("examples"):
        return f"for example {_show(schema['examples'][0])}"
    return "see the reference of job_config"


def _show(value: Any) -> str:
    if isinstance(value, str) and "@" in value:
        return "the value"  # a URL may hold a password
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _clean(path: str) -> str:
    """A path that holds a name the caller made up, fit for one line of a message."""
    plain = "".join(char if char.isprintable() else "?" for char in path)
    return plain if len(plain) <= 2 * _SHOWN else f"{plain[: 2 * _SHOWN]}…"
