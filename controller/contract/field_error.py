"""How the check functions of `fields` refuse a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Format = Callable[[Any], Any]


class FieldError(ValueError):
    """A value that its field cannot take: what is wrong with it, and what to write instead."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


def text_of(value: Any) -> str:
    """`value` where it is a string that UTF-8 can carry. Raises FieldError."""
    if not isinstance(value, str):
        raise FieldError("is not a string", "write a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldError(
            "holds half of a surrogate pair, which is no character", "write valid Unicode"
        ) from None
    return value
