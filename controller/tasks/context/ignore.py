"""Which files of a build context are left, by the rules of .dockerignore.

https://docs.docker.com/build/concepts/context/#dockerignore-files: patterns of Go's filepath.Match
with `**`, from the context's root; the last that matches decides; `!` takes back. The file is
somebody else's, so matching takes time in proportion to pattern and path, whatever they hold.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache


def filtered(files: Iterable[str], text: str) -> set[str]:
    """The files that are not left out."""
    rules = [rule for line in text.splitlines() if (rule := _rule(line))]
    return {file for file in files if not _left_out(file, rules)}


def found(source: str, files: Collection[str]) -> bool:
    """Whether a COPY source (a file, a directory or a pattern) names at least one of the files."""
    wanted = _clean(source)
    if not wanted or wanted in files:
        return True
    pattern = wanted.split("/")
    return any(_covers(pattern, file.split("/")) for file in files)


def is_pattern(source: str) -> bool:
    """Whether a source is one that may match nothing."""
    return any(char in source for char in "*?[")


def through(source: str, links: Collection[str]) -> bool:
    """Whether a source leads through one of the links, to files that are listed elsewhere."""
    above = _clean(source).split("/")[:-1]
    paths = (link.split("/") for link in links)
    return any(len(path) in reached for path in paths for reached in _reached(above, path))


def names_a_file(source: str, files: Collection[str]) -> bool:
    """Whether a source names one of the files itself, and not a directory or a pattern."""
    return _clean(source) in files


def _clean(path: str) -> str:
    """A path from the context's root, as the builder sees it: `..` cannot lead above the root."""
    return posixpath.normpath(f"/{path}").strip("/")


def _rule(line: str) -> tuple[bool, list[str]] | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    keeps = line.startswith("!")
    body = _clean(line[1:].strip() if keeps else line)
    return (keeps, body.split("/")) if body else None


def _left_out(file: str, rules: list[tuple[bool, list[str]]]) -> bool:
    parts, left_out = file.split("/"), False
    for keeps, pattern in rules:
        if left_out is keeps and _covers(pattern, parts):
            left_out = not keeps
    return left_out


def _covers(pattern: list[str], path: list[str]) -> bool:
    """Whether a pattern matches a path or a directory above it."""
    return all(_reached(pattern, path))


def _reached(pattern: list[str], path: list[str]) -> Iterator[set[int]]:
    """After each part of a pattern: how many parts of the path it may have taken so far."""
    reached = {0}
    for part in pattern:
        if part == "**":
            reached = set(range(min(reached), len(path) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(path) and matches(part, path[at])}
        yield reached


def matches(pattern: str, name: str) -> bool:
    """One part of a path against `*`, `?`, `[…]` and backslashes; greedy with one way back."""
    tokens = _tokens(pattern)
    token = at = 0
    star, star_at = -1, 0
    while at < len(name):
        if token < len(tokens) and tokens[token] is None:
            star, star_at, token = token, at, token + 1
        elif token < len(tokens) and _one(tokens[token], name[at]):
            token, at = token + 1, at + 1
        elif star >= 0:
            star_at += 1
            token, at = star + 1, star_at
        else:
            return False
    return all(one is None for one in tokens[token:])


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[str | None, ...]:
    """What each place of a name may be: None for `*`, else `?`, `[…]`, or a character after =."""
    tokens: list[str | None] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        end = pattern.find("]", at + 2) if char == "[" else -1
        if char == "*":
            tokens.append(None)
        elif char == "?":
            tokens.append("?")
        elif end > 0:
            tokens.append(pattern[at : end + 1])
            at = end
        elif char == "\\" and at + 1 < len(pattern):
            at += 1
            tokens.append(f"={pattern[at]}")
        else:
            tokens.append(f"={char}")
        at += 1
    return tuple(tokens)


def _one(place: str | None, char: str) -> bool:
    if place is None or place == "?":
        return True
    if place[0] == "=":
        return place[1] == char
    inner = place[1:-1]
    negated = inner[:1] in ("^", "!")
    inner = inner[1:] if negated else inner
    held, at = False, 0
    while at < len(inner):
        if at + 2 < len(inner) and inner[at + 1] == "-":
            held |= inner[at] <= char <= inner[at + 2]
            at += 3
        else:
            held |= inner[at] == char
            at += 1
    return held is not negated
