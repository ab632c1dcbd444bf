"""Whether a program still moves: one that neither reads nor writes waits for a peer that is gone.

A push of many gigabytes may rightly take long, so time alone says nothing. What the kernel counts
(/proc/PID/io, sockets included) over the program and all it started does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from controller.tasks.process import Deadline
from controller.tasks.tries import Transient

_LOOK_EVERY = 1.0  # seconds


class StallGuard:
    """A guard for a Deadline: raises Transient once nothing has moved for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen = -1
        self._moved_at = self._looked_at = time.monotonic()

    def within(self, deadline: Deadline) -> Deadline:
        """The same moment, watched by this guard."""
        return Deadline(deadline.at, deadline.seconds, self.check)

    def check(self) -> None:
        """Look, at most once a second. Raises Transient."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        moved = sum(_io(pid) for pid in _descendants(os.getpid()))
        if moved != self._seen:
            self._seen, self._moved_at = moved, now
        elif now - self._moved_at >= self._seconds:
            raise Transient(f"the registry did nothing for {self._seconds:.0f} s")


def _descendants(pid: int) -> Iterator[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return  # it has ended meanwhile
    for child in map(int, listed.split()):
        yield child
        yield from _descendants(child)


def _io(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(
        int(line.partition(":")[2]) for line in lines if line.startswith(("rchar:", "wchar:"))
    )
