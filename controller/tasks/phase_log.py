"""The log of one phase: merged, redacted, timestamped, capped in size, mirrored to Nomad."""

from __future__ import annotations

import os
import sys
from collections import deque

from controller.contract.log_line import clean, format_line
from controller.tasks.redaction import Redactor

# What a failure quotes. More lines than an agent wants to read, few enough to hold in memory.
TAIL_LINES = 200
# Well below what `process` hands over of a line: a secret that is cut there is not shown at all.
_LONGEST_LINE = 12 << 10
_RESERVE = 4 << 10  # kept free below the cap, so that the runner's own last words always fit


class PhaseLog:
    """Writes lines to the phase's log file; the file never grows beyond `max_bytes` bytes.

    Lines beyond the cap are counted and dropped, the runner's own words excepted. `tail` keeps the
    last lines whether they were written or dropped.
    """

    def __init__(self, fd: int, max_bytes: int, redactor: Redactor) -> None:
        self._fd = fd
        self._room = max_bytes - _RESERVE
        self._redactor = redactor
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.dropped = 0
        self.size = 0  # bytes written

    def say(self, text: str) -> None:
        """A line of the runner's own."""
        for line in text.splitlines():
            self.write("nbs", line)

    def write(self, stream: str, text: str) -> str:
        """Write one line and return its text as it was written (cleaned and redacted)."""
        text = self._redactor.redact(clean(text))
        if len(text) > _LONGEST_LINE:
            text = text[:_LONGEST_LINE] + f" … [{len(text) - _LONGEST_LINE} characters left out]"
        self.tail.append(text)
        raw = format_line(stream, text)
        if len(raw) > self._room and stream != "nbs":
            if not self.dropped:
                self._emit(format_line("nbs", "log limit reached: further output is dropped"))
            self.dropped += 1
            return text
        self._room -= len(raw)
        self._emit(raw)
        return text

    def close(self) -> None:
        """Close the file, with a word about what was left out."""
        if self.dropped:
            self._emit(format_line("nbs", f"{self.dropped} lines beyond the log limit left out"))
        os.close(self._fd)

    def _emit(self, raw: bytes) -> None:
        self.size += len(raw)
        view = memoryview(raw)
        while view:
            view = view[os.write(self._fd, view) :]
        try:
            sys.stdout.buffer.write(raw)
            sys.stdout.buffer.flush()
        except OSError:
            # Nomad's log collector is gone (its agent restarts): the file is the log of record.
            pass
