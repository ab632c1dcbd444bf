"""Our changes to the source of a program that is built from its Go module.

They lie as unified diffs in `nomad/toolchain/NAME/patches`, each with the reason above it. The
module's source is copied, since Go keeps its own copy read-only, and the build is pointed at it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .release_archive import UnavailableError


def patches(module: Path) -> list[Path]:
    """The changes to a program, in the order in which they apply."""
    return sorted((module / "patches").glob("*.patch"))


def fingerprint(module: Path) -> str:
    """A short text that differs wherever the changes do; empty where there are none."""
    found = patches(module)
    if not found:
        return ""
    return hashlib.sha256(b"".join(one.read_bytes() for one in found)).hexdigest()[:8]


def apply(package: str, module: Path, go: Path, environ: Mapping[str, str], into: Path) -> Path:
    """Copy and change the source of `package` below `into`; the go.mod file that leads to it.

    Raises UnavailableError.
    """
    found = _output(
        [str(go), "list", "-mod=readonly", "-f", "{{.Module.Path}}\t{{.Module.Dir}}", package],
        module,
        environ,
    )
    path, _, directory = found.strip().partition("\t")
    source = into / "source"
    shutil.copytree(directory, source)
    for copied in (source, *source.rglob("*")):
        copied.chmod(copied.stat().st_mode | 0o200)
    # Inside of some repository `git apply` would leave out what is not part of it.
    alone = {**environ, "GIT_CEILING_DIRECTORIES": str(into)}
    for patch in patches(module):
        _output(["git", "apply", str(patch)], source, alone)
    for name in ("go.mod", "go.sum"):
        shutil.copy2(module / name, into / name)
    with (into / "go.mod").open("a") as stream:
        stream.write(f'\nreplace {path} => "{source}"\n')
    return into / "go.mod"


def _output(argv: list[str], directory: Path, environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            argv, cwd=directory, env=dict(environ), capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UnavailableError(f"{argv[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        words = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise UnavailableError(f"{' '.join(argv[:2])} ended with {done.returncode}: {words}")
    return done.stdout
