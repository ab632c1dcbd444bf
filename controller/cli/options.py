"""The options of `nbs submit`, made from the schema of a request: one for each field."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.cli import exit_codes
from controller.cli.client import CommandError
from controller.contract import request

_TEST = ("commands", "entry_point", "env", "network", "timeout")
_ONE = {
    "image_tags": "image-tag",
    "labels": "label",
    "build_args": "build-arg",
    "build_secrets": "build-secret",
    "platforms": "platform",
    "test.commands": "test-command",
    "test.env": "test-env",
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is given more than once makes a list or a map."""
    properties = request.schema()["properties"]
    fields = {
        name: part for name, part in properties.items() if name not in ("test", "resource_limits")
    }
    fields |= {f"test.{name}": properties["test"]["properties"][name] for name in _TEST}
    fields |= {
        f"resource_limits.{name}": part
        for name, part in properties["resource_limits"]["properties"].items()
        if part["type"] != "object"
    }
    for name, part in fields.items():
        option = "--" + _ONE.get(
            name, name.replace("resource_limits.", "").replace(".", "-").replace("_", "-")
        )
        about = str(part.get("description", "")).replace("%", "%%")
        kind = part["type"]
        if name == "patch":
            about = f"A file with it, or - for standard input. {about}"
            parser.add_argument(option, dest=name, metavar="FILE", type=_content, help=about)
        elif kind == "boolean":
            parser.add_argument(option, dest=name, action="store_const", const=True, help=about)
        elif kind == "array":
            parser.add_argument(option, dest=name, action="append", help=about, metavar="VALUE")
        elif kind == "object":
            parser.add_argument(
                option, dest=name, action="append", help=about, metavar="NAME=VALUE", type=_pair
            )
        else:
            parser.add_argument(
                option,
                dest=name,
                help=about,
                metavar="VALUE",
                type=int if kind == "integer" else str,
            )


def document(options: argparse.Namespace) -> dict[str, Any]:
    """The request of a file (or standard input, `-`) with the options over it."""
    given: dict[str, Any] = _read(options.file) if options.file else {}
    for name, value in vars(options).items():
        holder, _, field = name.rpartition(".")
        if value is None or (not holder and name not in request.schema()["properties"]):
            continue
        target = given.setdefault(holder, {}) if holder else given
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            value = {**target.get(field, {}), **dict(value)}
        target[field] = value
    return given


def _read(path: str) -> dict[str, Any]:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        found = request.fold(request.decode(raw))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", exit_codes.INVALID) from error
    except request.RequestError as error:
        raise CommandError(f"{path}: {error}", exit_codes.INVALID) from error
    return found


def _content(path: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def local_problems(given: Mapping[str, Any], *, known: bool = False) -> None:
    """Check a request here, before it travels. Raises CommandError with every problem.

    The owner of a `known` caller comes from the credential, so it may be missing.
    """
    try:
        checked = json.loads(json.dumps(given))
        request.normalise({"owner": "known"} | checked if known else checked)
    except request.RequestError as error:
        body = {
            "error": f"the request has {len(error.problems)} problem(s)",
            "code": 422,
            "problems": [
                {"field": one.field, "problem": one.problem, "fix": one.fix}
                for one in error.problems
            ],
        }
        lines = "".join(f"\n  {one.field}: {one.problem}\n    {one.fix}" for one in error.problems)
        raise CommandError(str(body["error"]) + lines, exit_codes.INVALID, body) from error
