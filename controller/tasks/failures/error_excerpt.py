"""The lines of a step around what looks like its error, rather than merely its last ones.

What went wrong first is usually the cause, and often far above the end: a compiler goes on, a
package manager says at length that it gives up. Fed line by line; holds a bounded number of them.
"""

from __future__ import annotations

import re
from collections import deque

_BEFORE, _AFTER = 4, 6  # lines around an error
_WINDOWS = 3  # the first ones; the end of the log is kept elsewhere
_LONGEST = 500  # characters of a line
LEFT_OUT = "…"
_ERROR = re.compile(
    r"(?:^|[\s\[(:])(?:error|fatal|panic|exception|abort(?:ed)?)(?:\[\w+\])?(?:[:\])!]| TS\d+)"
    r"|\bERR!|^E: |^Err:\d+ |\*\*\* |^Traceback \(most recent|undefined reference|\bFAILED\b"
    r"|(?:command|: not) found\b|No such file or directory|Permission denied|Segmentation fault"
    r"|Could not resolve host|Connection refused|No space left on device|cannot find\b"
    r"|unable to (?:locate|select|resolve)|no matching|out of memory|Killed\Z|syntax error",
    re.IGNORECASE,
)
_NONE = re.compile(r"\b(?:0|no) (?:errors?|failures?)\b", re.IGNORECASE)


class ErrorExcerpt:
    """Fed with the output of a step; begin anew with each step."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._before: deque[str] = deque(maxlen=_BEFORE)
        self._after = 0
        self._windows = 0
        self._skipped = False

    def feed(self, line: str) -> None:
        """Take in one line."""
        line = line[:_LONGEST]
        if _ERROR.search(line) and not _NONE.search(line):
            self._open()
            self._after = _AFTER if self._windows <= _WINDOWS else 0
            if self._after:
                self._lines.append(line)
                return
        elif self._after:
            self._after -= 1
            self._lines.append(line)
            return
        self._skipped = self._skipped or len(self._before) == _BEFORE
        self._before.append(line)

    def _open(self) -> None:
        if self._after:
            return
        self._windows += 1
        if self._windows > _WINDOWS:
            return
        if self._lines and self._skipped:
            self._lines.append(LEFT_OUT)
        self._lines += self._before
        self._before.clear()
        self._skipped = False

    @property
    def lines(self) -> list[str]:
        """The lines, oldest first; between windows that do not touch stands `…`."""
        return list(self._lines)
