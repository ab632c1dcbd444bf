"""A floor under the free space of a node's storage: a build ends before the disk is full.

Nomad does not enforce `ephemeral_disk`, and layers lie outside of it. A full disk would take down
every build on the node and more, so the build that runs when the floor is reached is ended.
"""

from __future__ import annotations

import os
from pathlib import Path

from controller.tasks.errors import PhaseFailed

_INODES = 0.02  # of a file system's; a million empty files fill it as well as one large one


_FILLED = (
    "The disk had room when this phase began: what the build wrote since, or another one beside it "
    "on the node, filled it. Write less (what one step of the Dockerfile makes counts whole, also "
    "what a later step removes), or ask for more disk for builds."
)


class DiskFloor:
    """Free bytes, and inodes, that a build must leave on the file system of `directory`."""

    def __init__(self, directory: Path, floor_bytes: int) -> None:
        self._directory = directory
        self._floor = floor_bytes
        self._before = self._shortage()

    def check(self) -> None:
        """Raise PhaseFailed(OutOfDisk) where less is free. Costs microseconds."""
        if shortage := self._shortage():
            raise PhaseFailed("OutOfDisk", shortage, hint=None if self._before else _FILLED)

    def _shortage(self) -> str:
        """What there is too little of, in words; empty for nothing."""
        try:
            status = os.statvfs(self._directory)
        except FileNotFoundError:
            return ""  # nothing was stored there yet
        free = status.f_bavail * status.f_frsize
        if free < self._floor:
            return (
                f"only {free >> 20} MB are free for builds on this node; "
                f"{self._floor >> 20} MB must stay free (pack variable disk_floor_mb)"
            )
        # Some file systems have no fixed number of inodes, and say 0.
        if status.f_files and status.f_favail < status.f_files * _INODES:
            return (
                f"only {status.f_favail} inodes are free for builds on this node; "
                f"{_INODES:.0%} of {status.f_files} must stay free"
            )
        return ""
