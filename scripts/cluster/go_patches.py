"""Our changes to the source of a program that is built from its Go module.

They lie as unified diffs in `nomad/toolchain/NAME/patches/MODULE`, each with the reason above it,
for the program's own module or one that it is made of. The module's source is copied, since Go
keeps its own copy read-only, and the build is pointed at it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .release_archive import UnavailableError


def patches(module: Path) -> list[Path]:
    """The changes to a program, in the order in which they apply."""
    return sorted((module / "patches").rglob("*.patch"))


def fingerprint(module: Path) -> str:
    """A short text that differs wherever the changes do; empty where there are none."""
    found = patches(module)
    if not found:
        return ""
    return hashlib.sha256(b"".join(one.read_bytes() for one in found)).hexdigest()[:8]


def apply(module: Path, go: Path, environ: Mapping[str, str], into: Path) -> Path:
    """Copy and change the sources below `into`; the go.mod file that leads to them.

    Raises UnavailableError.
    """
    # Inside of some repository `git apply` would leave out what is not part of it.
    alone = {**environ, "GIT_CEILING_DIRECTORIES": str(into)}
    replaced = dict[str, Path]()
    for patch in patches(module):
        path = str(patch.parent.relative_to(module / "patches"))
        if path not in replaced:
            replaced[path] = into / path
            _copy(path, replaced[path], module, go, environ)
        _output(["git", "apply", str(patch)], replaced[path], alone)
    for name in ("go.mod", "go.sum"):
        shutil.copy2(module / name, into / name)
    with (into / "go.mod").open("a") as stream:
        for path, source in replaced.items():
            stream.write(f'\nreplace {path} => "{source}"\n')
    return into / "go.mod"


def _copy(path: str, source: Path, module: Path, go: Path, environ: Mapping[str, str]) -> None:
    """Copy the source of the Go module `path`, as `module` requires it, to `source`."""
    listed = [str(go), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]
    directory = _output(listed, module, environ).strip()
    if not directory:  # required, but no package of it was needed yet
        directory = json.loads(
            _output([str(go), "mod", "download", "-json", path], module, environ)
        )["Dir"]
    shutil.copytree(directory, source)
    for copied in (source, *source.rglob("*")):
        copied.chmod(copied.stat().st_mode | 0o200)


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
