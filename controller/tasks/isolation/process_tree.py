"""The processes that a program has started, and those that they have, from /proc.

proc(5), /proc/PID/task/TID/children: the children of a thread, and not of the process. Programs in
Go, as Buildah and git-lfs, start others from whichever thread is at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> Iterator[int]:
    """Every process below `pid`; one that ends meanwhile may be left out, with what it had."""
    left = [pid]  # no recursion: untrusted code chooses how deep it goes
    while left:
        for child in _children(left.pop()):
            left.append(child)
            yield child


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):  # it has ended meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                yield from map(int, (thread / "children").read_text().split())
