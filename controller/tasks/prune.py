"""Task `prune`: on a build node, remove what dead builds left and keep the cache in its budget.

The cache loses what no build has used for longest, image by image (see `eviction`).

A build that is alive holds its owner's lock in every phase and touches its scratch directory at the
start of each; between two phases lie milliseconds. So what nobody holds and nobody touched for
`_DEAD_AFTER` seconds belongs to no living build.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.tasks.environment import TaskEnvironment
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node import eviction
from controller.tasks.node.storage import containers, tool_env
from controller.tasks.process import Deadline

_DEAD_AFTER = 900
_MEASURE_SECONDS = 300
_REMOVE_SECONDS = 600


def run(environment: TaskEnvironment) -> int:
    """Prune every owner's storage on this node; one JSON line says what was done."""
    home = environment.task_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    pruning = Pruning(environment, Sandbox(tool_env(home), driver=environment.driver))
    for owner in pruning.owners():
        pruning.remove_leftovers(owner)
    pruning.keep_budget()
    print(json.dumps(pruning.done), flush=True)
    return 1 if pruning.done["problems"] else 0


def make_room(environment: TaskEnvironment) -> list[str]:
    """Where less is free than builds must leave, evict what would free it; the images' IDs.

    As much again is freed for the build itself. Called before a build, without any lock.
    """
    try:
        status = os.statvfs(environment.storage_dir)
    except FileNotFoundError:
        return []
    free = status.f_bavail * status.f_frsize
    if free >= environment.disk_floor_bytes:
        return []
    home = environment.task_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    pruning = Pruning(environment, Sandbox(tool_env(home), driver=environment.driver))
    pruning.make_room(2 * environment.disk_floor_bytes - free)
    return pruning.done["images"]


class Pruning:
    """What is removed from one node's storage, and why not: `done`."""

    def __init__(self, environment: TaskEnvironment, sandbox: Sandbox) -> None:
        self._environment = environment
        self._sandbox = sandbox
        self.done: dict[str, list[str]] = {
            "scratch": [],
            "containers": [],
            "images": [],
            "caches": [],
            "in_use": [],
            "problems": [],
        }

    def owners(self) -> list[Path]:
        """Every owner's directory, the least recently used first."""
        try:
            found = [
                entry
                for entry in self._environment.storage_dir.iterdir()
                if entry.is_dir() and not entry.is_symlink()
            ]
        except FileNotFoundError:
            return []
        return sorted(found, key=_last_use)

    def remove_leftovers(self, owner: Path) -> None:
        """Remove scratch directories and working containers of builds that are no more."""
        with self._alone(owner) as alone:
            if not alone:
                return
            alive = set()
            for scratch in self._entries(owner / "scratch"):
                if time.time() - scratch.stat().st_mtime < _DEAD_AFTER:
                    alive.add(f"nbs-{scratch.name}")
                elif self._remove(scratch):
                    self.done["scratch"].append(scratch.name)
            for link in owner.iterdir():
                if link.is_symlink() and not link.exists():
                    link.unlink()
            dead = [folder.name for folder, mark in containers(owner) if mark not in alive]
            if dead:
                code, _, said = self._sandbox.capture(
                    self._buildah(owner, "rm", *dead), Deadline.after(_REMOVE_SECONDS)
                )
                self.done["containers" if code == 0 else "problems"] += (
                    dead if code == 0 else [said]
                )

    def keep_budget(self) -> None:
        """Evict images until what is stored fits the budget, or nobody's are left to evict."""
        total = sum(self._size(owner) for owner in self.owners())
        self._evict(total - self._environment.cache_budget_bytes, partly=True)

    def make_room(self, wanted: int) -> None:
        """Evict images that have so many bytes; none where that many cannot be had."""
        self._evict(wanted, partly=False)

    def _evict(self, wanted: int, *, partly: bool) -> None:
        """Evict the images that no build has used for longest, whoever owns them."""
        if wanted <= 0:
            return
        with contextlib.ExitStack() as locks:
            idle = [
                owner
                for owner in self.owners()
                if locks.enter_context(self._alone(owner)) and not self._entries(owner / "scratch")
            ]
            sizes = {
                (owner, layer): size
                for owner in idle
                for layer, size in self._layers(owner).items()
            }
            images = [image for owner in idle for image in eviction.stored(owner)]
            chosen, freed = eviction.oldest(images, sizes, wanted)
            caches = self._oldest_caches(idle, wanted - freed)
            if not partly and freed + sum(caches.values()) < wanted:
                return
            for owner in idle:
                gone = {image.image for image in chosen if image.owner == owner}
                if gone:
                    everything = len(gone) == sum(image.owner == owner for image in images)
                    self._evict_images(owner, gone, everything=everything)
            for cache in caches:
                if self._remove(cache):
                    self.done["caches"].append(cache.parent.name)

    def _oldest_caches(self, idle: list[Path], wanted: int) -> dict[Path, int]:
        """Directories of `RUN --mount=type=cache` to remove where the images are not enough."""
        found: dict[Path, int] = {}
        for owner in idle:
            if sum(found.values()) >= wanted:
                break
            if (owner / "cache").is_dir():
                found[owner / "cache"] = self._size(owner / "cache")
        return found

    def _evict_images(self, owner: Path, gone: set[str], *, everything: bool) -> None:
        if everything:
            removed = self._remove(owner / "root")
        else:
            _, _, said = self._sandbox.capture(
                self._buildah(owner, "rmi", "--force", *sorted(gone)),
                Deadline.after(_REMOVE_SECONDS),
            )
            left = {image.image for image in eviction.stored(owner)}
            # Buildah removes what only a removed image stood on along with it, and then misses it.
            removed = not gone & left
            if not removed:
                self.done["problems"].append(said)
        if removed:
            self.done["images"] += sorted(image[:12] for image in gone)
        eviction.forget(owner)

    def _buildah(self, owner: Path, *arguments: str) -> list[str]:
        return [
            self._environment.buildah,
            "--root",
            str(owner / "root"),
            "--runroot",
            str(self._environment.task_dir / "run"),
            "--storage-driver",
            "overlay",
            *arguments,
        ]

    def _layers(self, owner: Path) -> dict[str, int]:
        """Bytes on disk of every layer of an owner."""
        folder = owner / "root" / "overlay"
        if not folder.is_dir():
            return {}
        code, said, _ = self._sandbox.capture(
            ["du", "-d1", "-B1", "--", str(folder)], Deadline.after(_MEASURE_SECONDS)
        )
        lines = [line.split("\t", 1) for line in said.splitlines()] if code == 0 else []
        return {Path(path).name: int(size) for size, path in lines}

    @contextmanager
    def _alone(self, owner: Path) -> Iterator[bool]:
        with (owner / "lock").open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.done["in_use"].append(owner.name)
                yield False
                return
            yield True

    @staticmethod
    def _entries(folder: Path) -> list[Path]:
        return (
            [entry for entry in folder.iterdir() if not entry.is_symlink()]
            if folder.is_dir()
            else []
        )

    def _remove(self, path: Path) -> bool:
        code, _, said = self._sandbox.capture(
            ["rm", "-rf", "--", str(path)], Deadline.after(_REMOVE_SECONDS)
        )
        if code:
            self.done["problems"].append(said)
            print(f"cannot remove {path}: {said}", file=sys.stderr, flush=True)
        return code == 0

    def _size(self, owner: Path) -> int:
        """Bytes on disk, counted by root of the namespace: layers hold files of other ids."""
        code, said, _ = self._sandbox.capture(
            ["du", "-s", "-B1", "--", str(owner)], Deadline.after(_MEASURE_SECONDS)
        )
        return int(said.split()[0]) if code == 0 else 0


def _last_use(owner: Path) -> float:
    try:
        return (owner / "lock").stat().st_mtime
    except FileNotFoundError:
        return 0.0
