"""Which files of a build context are left, by the rules of .dockerignore.

https://docs.docker.com/build/concepts/context/#dockerignore-files: patterns of Go's filepath.Match
with `**`, from the context's root; the last that matches decides; `!` takes back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache


def filtered(files: Iterable[str], text: str) -> set[str]:
    """The files that are not left out."""
    rules = [rule for line in text.splitlines() if (rule := _rule(line))]
    return {file for file in files if not _left_out(file, rules)}


def found(source: str, files: Collection[str]) -> bool:
    """Whether a COPY source (a file, a directory or a pattern) names at least one of the files."""
    wanted = source.strip("/").removeprefix("./").rstrip("/")
    if wanted in ("", "."):
        return True
    if wanted in files:
        return True
    pattern = _pattern(wanted)
    return any(pattern.match(file) for file in files)


def _rule(line: str) -> tuple[bool, str] | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    keeps = line.startswith("!")
    body = line[1:].strip() if keeps else line
    body = body.strip("/").removeprefix("./")
    return (keeps, body) if body else None


def _left_out(file: str, rules: list[tuple[bool, str]]) -> bool:
    left_out = False
    for keeps, body in rules:
        if left_out is keeps and _pattern(body).match(file):
            left_out = not keeps
    return left_out


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    """A pattern that matches a path, or anything below it."""
    expression, rest = "", text
    while rest:
        if rest.startswith("**/"):
            expression, rest = f"{expression}(?:[^/]+/)*", rest[3:]
        elif rest.startswith("**"):
            expression, rest = f"{expression}.*", rest[2:]
        elif rest[0] == "*":
            expression, rest = f"{expression}[^/]*", rest[1:]
        elif rest[0] == "?":
            expression, rest = f"{expression}[^/]", rest[1:]
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            inner = rest[1:end].replace("\\", "\\\\").replace("[", "\\[")
            expression, rest = f"{expression}[{inner}]", rest[end + 1 :]
        elif rest[0] == "\\" and len(rest) > 1:
            expression, rest = expression + re.escape(rest[1]), rest[2:]
        else:
            expression, rest = expression + re.escape(rest[0]), rest[1:]
    try:
        return re.compile(f"{expression}(?:/.*)?\\Z", re.DOTALL)
    except re.error:  # such as a range that runs backwards: it matches nothing but itself
        return re.compile(f"{re.escape(text)}\\Z")
