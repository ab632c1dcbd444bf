"""Whether a program still moves: one that neither reads nor writes waits for a peer that is gone.

A push of many gigabytes may rightly take long, so time alone says nothing. What the kernel counts
(/proc/PID/io, sockets included) over the program and all it started does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation.process_tree import descendants
from controller.tasks.process import Deadline
from controller.tasks.registries.tries import Transient

_LOOK_EVERY = 1.0  # seconds


def _registry(seconds: float) -> PhaseFailed:
    return Transient(f"the registry did nothing for {seconds:.0f} s")


class StallGuard:
    """A guard for a Deadline: raises `failure` once nothing has moved for `seconds`.

    Programs called `aside` do not count: ssh asks a server that is mute whether it is alive.
    """

    def __init__(
        self,
        seconds: float,
        failure: Callable[[float], PhaseFailed] = _registry,
        *,
        aside: str = "",
    ) -> None:
        self._seconds = seconds
        self._failure = failure
        self._aside = aside
        self._seen = -1
        self._moved_at = self._looked_at = time.monotonic()

    def within(self, deadline: Deadline) -> Deadline:
        """The same moment, watched by this guard as well."""
        return deadline.guarded(self.check)

    def check(self) -> None:
        """Look, at most once a second. Raises what `failure` gives."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        moved = sum(_io(pid) for pid in descendants(os.getpid()) if self._counts(pid))
        if moved != self._seen:
            self._seen, self._moved_at = moved, now
        elif now - self._moved_at >= self._seconds:
            raise self._failure(self._seconds)

    def _counts(self, pid: int) -> bool:
        if not self._aside:
            return True
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip() != self._aside
        except OSError:
            return False


def _io(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(
        int(line.partition(":")[2]) for line in lines if line.startswith(("rchar:", "wchar:"))
    )
