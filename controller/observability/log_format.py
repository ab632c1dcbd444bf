"""How the controller's log looks: text for people, and lines of JSON of the audit among it.

What callers send may get into any message. So line breaks and other control characters are escaped
everywhere: nobody can write a line of their own, least of all one that looks like the audit's.
"""

from __future__ import annotations

import logging
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AUDIT = "audit"


class OneLine(logging.Formatter):
    """A record in one line, a traceback in indented ones; the audit's are JSON and nothing else."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and those of its traceback."""
        record.message = record.getMessage()
        if record.name == _AUDIT:
            return record.message
        record.asctime = self.formatTime(record)
        lines = [_escaped(self.formatMessage(record))]
        # What an exception says may have line breaks of a caller's: a new line is never theirs.
        for text in (
            self.formatException(record.exc_info) if record.exc_info else "",
            record.stack_info or "",
        ):
            lines += [f"  {_escaped(line)}" for line in text.split("\n") if line]
        return "\n".join(lines)


def configure(level: str) -> None:
    """Log to stderr. The audit does not depend on the level."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # A line or more for every request; uvicorn's have whole URLs, the websockets' all headers.
    for chatty in ("httpx", "mcp", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger(_AUDIT).setLevel(logging.INFO)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
