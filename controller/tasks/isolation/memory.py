"""Whether the kernel killed a process of this task because the task's memory was used up.

Nomad puts every task into a memory cgroup of its own (where its agent may make cgroups); the
kernel counts its kills there. cgroup v1: `memory.oom_control`; v2: `memory.events`.
"""

from __future__ import annotations

import re
from pathlib import Path

_UNLIMITED = 1 << 60


class MemoryWatch:
    """Counts kills since it was made. Without a cgroup of its own it knows of none."""

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._counter, self._limit_file = _files(root, membership)
        self._before = self._count()

    def killed(self) -> bool:
        """Whether a process of the task was killed for memory since this object was made."""
        return self._count() > self._before

    def limit_mb(self) -> int | None:
        """The task's memory limit in MB, None where there is none."""
        try:
            limit = int(self._limit_file.read_text()) if self._limit_file else _UNLIMITED
        except (OSError, ValueError):
            return None
        return limit >> 20 if limit < _UNLIMITED else None

    def _count(self) -> int:
        try:
            text = self._counter.read_text() if self._counter else ""
        except OSError:
            return 0
        match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(match[1]) if match else 0


def _files(root: Path, membership: Path) -> tuple[Path | None, Path | None]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None, None
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = root / "memory" / path.lstrip("/")
            if not folder.exists():  # a container sees its own group as the root
                folder = root / "memory"
            return folder / "memory.oom_control", folder / "memory.limit_in_bytes"
        if number == "0" and (root / "cgroup.controllers").exists():
            folder = root / path.lstrip("/")
            return folder / "memory.events", folder / "memory.max"
    return None, None
