"""The Node.js packages of the protocol's tests: conformance suite, TypeScript clients, Inspector.

They lie in the cache under the hash of their lock file, are installed under a lock and marked
complete at the end. Node.js itself is one of them: the suite needs a newer one than Debian has. No
package's install script runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .paths import REPOSITORY, cache_directory

SOURCE = REPOSITORY / "tests" / "conformance"
FILES = ("package.json", "package-lock.json", ".npmrc")
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


@dataclass(frozen=True)
class NodePackages:
    """A directory with `node_modules`, and the Node.js in it."""

    root: Path

    @property
    def node(self) -> Path:
        """The Node.js program."""
        architecture = _ARCHITECTURES[platform.machine()]
        return self.root / "node_modules" / f"node-linux-{architecture}" / "bin" / "node"

    def module(self, path: str) -> Path:
        """A file of a package."""
        return self.root / "node_modules" / path


def install(source: Path = SOURCE) -> NodePackages:
    """Return the packages, installed if they were not."""
    digest = hashlib.sha256(b"".join((source / name).read_bytes() for name in FILES)).hexdigest()
    root = cache_directory() / f"node-{digest[:12]}"
    packages = NodePackages(root)
    if (root / ".complete").exists():
        return packages
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".complete").exists():
            _install(source, root)
    return packages


def _install(source: Path, root: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ClusterError("npm is missing: scripts/node-setup --with-demo-servers installs it")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in FILES:
        shutil.copy(source / name, root / name)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--loglevel=error"],
        cwd=root,
        env={**os.environ, "CI": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip()
        raise ClusterError(f"npm ci in {root} ended with {done.returncode}:\n{words[-3000:]}")
    (root / ".complete").touch()
