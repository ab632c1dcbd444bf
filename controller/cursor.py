"""Where a reader of a build's log stands: allocation, phase and byte. Opaque to callers."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from controller.contract.results import PHASES
from controller.errors import MalformedRequestError

_FORM = re.compile(r"([0-9a-f-]{1,64})/([a-z]+)/([0-9]{1,15})\Z")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position after a line: `offset` is the number of bytes before the next one."""

    alloc_id: str
    phase: str
    offset: int

    def __str__(self) -> str:
        raw = f"{self.alloc_id}/{self.phase}/{self.offset}".encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parse(text: str) -> Cursor:
    """Read what `str(Cursor)` wrote. Raises MalformedRequestError."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        raw = ""
    match = _FORM.match(raw)
    if not match or match[2] not in PHASES:
        raise MalformedRequestError(
            "the cursor is not one that this service gave out",
            "leave it out to read the log from its beginning",
        )
    return Cursor(match[1], match[2], int(match[3]))
