"""The newest lines of one phase's log file, shared by everybody who watches it.

Lines are addressed by the byte at which they end, as the file itself is, so a reader can move
between this buffer and the file. The buffer has a bound; the oldest lines leave it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

MAX_LINE = 64 << 10  # bytes; a longer line is cut into pieces


class LogBuffer:
    """Whole lines from byte `start` to byte `end`; `closed` when the file will not grow."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: deque[tuple[int, bytes]] = deque()  # (byte at which it ends, line)
        self._held = 0
        self._partial = b""
        self.start = 0
        self.end = 0
        self.first = 0  # number of the first held line, counted from where the buffer began
        self.closed = False

    @property
    def received(self) -> int:
        """The byte from which the file is to be read on."""
        return self.end + len(self._partial)

    def begin_at(self, offset: int) -> None:
        """Begin in the middle of the file, at the beginning of a line."""
        self.start = self.end = offset

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._add(line + b"\n")
        while len(self._partial) > MAX_LINE:
            self._add(self._partial[:MAX_LINE])
            self._partial = self._partial[MAX_LINE:]

    def close(self) -> None:
        """Say that the file is complete; a last line without a newline counts too."""
        if self._partial:
            self._add(self._partial)
            self._partial = b""
        self.closed = True

    def after(self, offset: int, most: int = 512) -> list[tuple[int, bytes]]:
        """Up to `most` lines that end after `offset`, which lies within the buffer."""
        # A deque is indexed slowly in the middle, but a live reader stands at its end.
        begin = bisect_right(self._lines, offset, key=lambda entry: entry[0])
        return [self._lines[index] for index in range(begin, min(begin + most, len(self._lines)))]

    def number(self, offset: int) -> int:
        """The number of the line that begins at `offset`, which lies within the buffer."""
        return self.first + bisect_right(self._lines, offset, key=lambda entry: entry[0])

    def _add(self, line: bytes) -> None:
        self.end += len(line)
        self._lines.append((self.end, line))
        self._held += len(line)
        while self._held > self._most and len(self._lines) > 1:
            end, oldest = self._lines.popleft()
            self._held -= len(oldest)
            self.start = end
            self.first += 1
