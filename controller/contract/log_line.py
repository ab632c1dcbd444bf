"""One line of a phase's log file: `2026-11-23T02:33:01.123Z stdout text`.

The stream is `stdout` or `stderr` of the program that the phase runs, or `nbs` for the runner's own
words. Times are UTC with milliseconds. A line never holds a newline; control characters other
than tab are replaced, so that a log cannot drive a reader's terminal.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

STREAMS = ("stdout", "stderr", "nbs")
# CSI and OSC sequences go as a whole; what is left of C0, C1 and DEL is replaced one by one.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class LogLine(NamedTuple):
    """A line as it was written: when (RFC 3339, UTC), on which stream, and its text."""

    timestamp: str
    stream: str
    text: str


def utc_now() -> str:
    """The present time as RFC 3339 in UTC with milliseconds."""
    return utc(datetime.now(UTC))


def utc(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with milliseconds."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def clean(text: str) -> str:
    """`text` without terminal escapes and control characters; carriage returns keep the last part.

    Programs that draw progress with carriage returns would otherwise fill a log with every frame.
    """
    text = _ESCAPES.sub("", text.rstrip("\r\n"))
    if "\r" in text:
        text = text.rsplit("\r", 1)[1]
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def format_line(stream: str, text: str, timestamp: str | None = None) -> bytes:
    """A whole line with its newline, as UTF-8."""
    return f"{timestamp or utc_now()} {stream} {clean(text)}\n".encode("utf-8", "replace")


def parse_line(raw: bytes) -> LogLine:
    """Read one line, with or without its newline; a foreign line becomes one of stream `stdout`."""
    text = raw.decode("utf-8", "replace").rstrip("\n")
    timestamp, _, rest = text.partition(" ")
    stream, _, body = rest.partition(" ")
    if stream in STREAMS and timestamp.endswith("Z"):
        return LogLine(timestamp, stream, body)
    return LogLine("", "stdout", text)
