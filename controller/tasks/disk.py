"""A floor under the free space of a node's storage: a build ends before the disk is full.

Nomad does not enforce `ephemeral_disk`, and layers lie outside of it. A full disk would take down
every build on the node and more, so the build that runs when the floor is reached is ended.
"""

from __future__ import annotations

import os
from pathlib import Path

from controller.tasks.errors import PhaseFailed

_INODES = 0.02  # of a file system's; a million empty files fill it as well as one large one


class DiskFloor:
    """Free bytes, and inodes, that a build must leave on the file system of `directory`."""

    def __init__(self, directory: Path, floor_bytes: int) -> None:
        self._directory = directory
        self._floor = floor_bytes

    def check(self) -> None:
        """Raise PhaseFailed(OutOfDisk) where less is free. Costs microseconds."""
        try:
            status = os.statvfs(self._directory)
        except FileNotFoundError:
            return  # nothing was stored there yet
        free = status.f_bavail * status.f_frsize
        if free < self._floor:
            raise PhaseFailed(
                "OutOfDisk",
                f"only {free >> 20} MB are free for builds on this node; "
                f"{self._floor >> 20} MB must stay free (pack variable disk_floor_mb)",
            )
        # Some file systems have no fixed number of inodes, and say 0.
        if status.f_files and status.f_favail < status.f_files * _INODES:
            raise PhaseFailed(
                "OutOfDisk",
                f"only {status.f_favail} inodes are free for builds on this node; "
                f"{_INODES:.0%} of {status.f_files} must stay free",
            )
