"""Task `prune`: on a build node, remove what dead builds left and keep the cache in its budget.

A build that is alive holds its owner's lock in every phase and touches its scratch directory at the
start of each; between two phases lie milliseconds. So what nobody holds and nobody touched for
`_DEAD_AFTER` seconds belongs to no living build.
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.tasks.environment import TaskEnvironment
from controller.tasks.process import Deadline
from controller.tasks.sandbox import Sandbox
from controller.tasks.storage import containers, tool_env

_DEAD_AFTER = 900
_MEASURE_SECONDS = 300
_REMOVE_SECONDS = 600


def run(environment: TaskEnvironment) -> int:
    """Prune every owner's storage on this node; one JSON line says what was done."""
    home = environment.task_dir / "home"
    home.mkdir(parents=True, exist_ok=True)
    pruning = _Pruning(environment, Sandbox(tool_env(home), driver=environment.driver))
    for owner in pruning.owners():
        pruning.remove_leftovers(owner)
    pruning.keep_budget()
    print(json.dumps(pruning.done), flush=True)
    return 1 if pruning.done["problems"] else 0


class _Pruning:
    def __init__(self, environment: TaskEnvironment, sandbox: Sandbox) -> None:
        self._environment = environment
        self._sandbox = sandbox
        self.done: dict[str, list[str]] = {
            "scratch": [],
            "containers": [],
            "stores": [],
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
                run_root = self._environment.task_dir / "run"
                code, _, said = self._sandbox.capture(
                    [
                        self._environment.buildah,
                        "--root",
                        str(owner / "root"),
                        "--runroot",
                        str(run_root),
                        "--storage-driver",
                        "overlay",
                        "rm",
                        *dead,
                    ],
                    Deadline.after(_REMOVE_SECONDS),
                )
                self.done["containers" if code == 0 else "problems"] += (
                    dead if code == 0 else [said]
                )

    def keep_budget(self) -> None:
        """Remove whole stores, the least recently used first, until the rest fits the budget."""
        owners = self.owners()
        sizes = {owner: self._size(owner) for owner in owners}
        for owner in owners:
            if sum(sizes.values()) <= self._environment.cache_budget_bytes:
                return
            with self._alone(owner) as alone:
                if not alone or any(True for _ in self._entries(owner / "scratch")):
                    continue
                if self._remove(owner / "root") and self._remove(owner / "cache"):
                    self.done["stores"].append(owner.name)
                    sizes[owner] = 0

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
