"""Obtaining the programs: PATH, then the cache, then the vendor's archive, then a Go build.

`Toolchain.obtain` is safe against two at once (a lock in the cache) and against interruption:
a program appears in the cache by one rename, when it is complete and has shown its version.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import go_build, go_patches, release_archive
from .errors import ClusterError
from .paths import MARKER, REPOSITORY, cache_directory
from .pins import PROGRAMS, Program, Version
from .release_archive import UnavailableError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """A usable program: where it is, its version, and how it was had.

    `source` is one of `PATH`, `cache`, `archive`, `build`.
    """

    program: Program
    path: Path
    version: str
    source: str


class Toolchain:
    """The pinned programs for one cache directory."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        progress: Progress = print,
        modules: Path = REPOSITORY / "nomad" / "toolchain",
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._progress = progress
        self._modules = modules
        self.cache = cache_directory(self._environ)

    def find(self, name: str) -> Found | None:
        """Return the program if it is on PATH or in the cache; nothing is downloaded."""
        program = PROGRAMS[name]
        return self._on_path(program) or self._in_cache(program)

    def obtain(self, names: Iterable[str]) -> dict[str, Found]:
        """Return every named program, fetching or building what is missing.

        Raises ClusterError, with each way that was tried, for the first that cannot be had.
        """
        names = list(names)
        found = {name: self.find(name) for name in names}
        missing = [name for name in names if found[name] is None]
        if missing:
            with self._lock():
                for number, name in enumerate(missing, 1):
                    # Another process may have finished it while we waited for the lock.
                    found[name] = self.find(name) or self._fetch(
                        PROGRAMS[name], f"[{number}/{len(missing)}] {name}"
                    )
        return {name: have for name, have in found.items() if have is not None}

    def cached_path(self, program: Program) -> Path:
        """Return where the cache keeps a program, whether or not it is there."""
        changes = go_patches.fingerprint(self._modules / program.name)
        name = f"{program.name}-{program.version}" + (f"+{changes}" if changes else "")
        return self.cache / "bin" / name

    def _on_path(self, program: Program) -> Found | None:
        if go_patches.patches(self._modules / program.name):
            return None  # what lies there lacks our changes
        path = shutil.which(program.name, path=self._search_path())
        if path is None:
            return None
        version = version_of(Path(path), program)
        if version is None or not program.oldest <= parse_version(version) < program.below:
            return None
        return Found(program, Path(path), version, "PATH")

    def _search_path(self) -> str:
        """Return PATH without directories of embedded clusters.

        `scripts/demo env` puts one there; its programs are links to ours and go with the cluster.
        """
        folders = self._environ.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join(folder for folder in folders if not _is_of_a_cluster(Path(folder)))

    def _in_cache(self, program: Program) -> Found | None:
        path = self.cached_path(program)
        if not os.access(path, os.X_OK):
            return None
        return Found(program, path, program.version, "cache")

    def _fetch(self, program: Program, label: str) -> Found:
        target = self.cached_path(program)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        tried: list[str] = []
        for source, way in (("archive", self._from_archive), ("build", self._from_build)):
            began = time.monotonic()
            try:
                way(program, part, label)
                self._require_version(program, part)
            except UnavailableError as reason:
                tried.append(f"{source}: {reason}")
                self._progress(f"{label}: no {source} ({reason})")
                continue
            took = time.monotonic() - began
            part.chmod(0o755)
            part.replace(target)
            self._progress(f"{label}: {program.version} by {source} in {took:.0f} s")
            return Found(program, target, program.version, source)
        raise ClusterError(
            f"{program.name} {program.version} cannot be had: "
            + "; ".join(tried)
            + f". Put {program.name} {version_range(program)} on PATH, or the binary at {target}"
        )

    def _from_archive(self, program: Program, part: Path, label: str) -> None:
        release_archive.fetch(program, part, self._environ, self._progress, label)

    def _from_build(self, program: Program, part: Path, label: str) -> None:
        go_build.build(
            program,
            self._modules / program.name,
            part,
            cache=self.cache,
            environ=self._environ,
            progress=self._progress,
            label=label,
        )

    def _require_version(self, program: Program, path: Path) -> None:
        path.chmod(0o755)
        version = version_of(path, program)
        if version != program.version:
            raise UnavailableError(f"what came says version {version}, not {program.version}")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the cache's lock; the kernel frees it when the process dies."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "toolchain.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._progress("another process is fetching the programs; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def version_of(path: Path, program: Program) -> str | None:
    """Return the version that a binary reports, as `1.2.3`; None when it does not run."""
    try:
        done = subprocess.run(
            [str(path), program.version_argument],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={"PATH": os.defpath, "HOME": "/nonexistent"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv?(\d+\.\d+\.\d+)\b", done.stdout + done.stderr)
    return match.group(1) if match else None


def parse_version(text: str) -> Version:
    """Return `1.2.3` as numbers."""
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


def version_range(program: Program) -> str:
    """Return the accepted versions in words, for messages."""
    oldest = ".".join(map(str, program.oldest))
    below = ".".join(map(str, program.below))
    return f"{oldest} or newer (below {below})"


def _is_of_a_cluster(folder: Path) -> bool:
    try:
        return (folder.parent / MARKER).is_file()
    except OSError:  # a folder that may not be looked into is none of ours
        return False


if __name__ == "__main__":
    try:
        Toolchain(os.environ).obtain(sys.argv[1:] or PROGRAMS)
    except ClusterError as error:
        sys.exit(str(error))
