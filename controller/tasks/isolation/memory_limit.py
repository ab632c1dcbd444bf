"""A limit of memory below the build class's, as `resource_limits` of a request may ask for it.

The task's cgroup has the class's limit, and no ordinary user can make one with less inside it. So
this is a watch, and no wall: the memory of all programs that the phase has started is added up a
few times a second, and a phase that is found above its limit is ended. What a program takes and
gives back between two looks goes unseen, and the kernel still holds the class's limit.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation.memory import MemoryWatch
from controller.tasks.isolation.process_tree import descendants
from controller.tasks.process import Deadline

_LOOK_EVERY = 0.2  # seconds
_SHARE = 10  # of the time, a tenth at most is spent on looking: a build may have many processes
_PROPORTIONAL = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryLimit:
    """A guard for a Deadline: raises PhaseFailed(OutOfMemory) once more is used.

    `megabytes` are Nomad's (MiB), `field` is where the request asks for them.
    """

    def __init__(self, megabytes: int, field: str) -> None:
        self._megabytes = megabytes
        self._field = field
        self._look_at = time.monotonic()

    def check(self) -> None:
        """Look, a few times a second at most."""
        begun = time.monotonic()
        if begun < self._look_at:
            return
        used = sum(_used(pid) for pid in descendants(os.getpid())) >> 20
        now = time.monotonic()
        self._look_at = now + max(_LOOK_EVERY, _SHARE * (now - begun))
        if used > self._megabytes:
            raise PhaseFailed(
                "OutOfMemory",
                f"{used} MB of memory were used, {self._field} is {self._megabytes}",
                hint=f"Raise {self._field}, or use less.",
            )


def limited(deadline: Deadline, request: Mapping[str, Any], phase: str) -> Deadline:
    """The same moment, with the limit that a request asks for a phase; its own, or the build's."""
    limits = request.get("resource_limits") or {}
    asked = {
        f"resource_limits.{phase}.memory": (limits.get(phase) or {}).get("memory"),
        "resource_limits.memory": limits.get("memory"),
    }
    field, megabytes = next(((one, int(mb)) for one, mb in asked.items() if mb), ("", 0))
    whole = MemoryWatch().limit_mb()
    if not megabytes or (whole is not None and whole <= megabytes):
        return deadline  # the kernel keeps it, if there is one
    return deadline.guarded(MemoryLimit(megabytes, field).check)


def _used(pid: int) -> int:
    """Bytes of a process; a page that several have counts for each of them in part."""
    try:
        found = _PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) << 10 if found else 0
    except PermissionError:  # a program that its user may run but not read
        return _resident(pid)
    except OSError:
        return 0  # it has ended meanwhile


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
