"""Patterns that operators write to allow names: hosts, repositories, paths.

`*` stands for any characters but `/`, `**` for any at all, `{owner}` for the owner's name. All else
stands for itself, and a pattern matches the whole name or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_TOKEN = re.compile(r"(\*\*|\*|\{owner\})")
_OWNER = re.compile(r"[A-Za-z0-9_@+=.-]+\Z")
_SOME, _ANY, _THE_OWNER = "*", "**", "{owner}"


def matches(pattern: str, name: str, owner: str = "") -> bool:
    """Whether a name matches a pattern.

    `{owner}` stands for an owner that is one plain part of a path; an owner with a slash, or with
    any character that is not plain, matches no such pattern: it could name somebody else's part.
    """
    if _THE_OWNER in pattern and not is_plain(owner):
        return False
    return _compiled(pattern, owner if _THE_OWNER in pattern else "").fullmatch(name) is not None


def any_matches(patterns: Iterable[str], name: str, owner: str = "") -> bool:
    """Whether a name matches one of several patterns."""
    return any(matches(pattern, name, owner) for pattern in patterns)


def is_plain(owner: str) -> bool:
    """Whether an owner can stand in a path as one part of it."""
    return bool(_OWNER.match(owner)) and bool(owner.strip("."))


@lru_cache(maxsize=4096)
def _compiled(pattern: str, owner: str) -> re.Pattern[str]:
    words = {_ANY: ".*", _SOME: "[^/]*", _THE_OWNER: re.escape(owner)}
    parts = (words.get(part) or re.escape(part) for part in _TOKEN.split(pattern))
    return re.compile("".join(parts), re.DOTALL)
