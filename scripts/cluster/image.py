"""The image `nomad-build-service`, made of `nomad/image/Dockerfile` without pulling anything.

Its base is a Debian that debootstrap makes from the machine's own mirror, made once and kept as an
image of its own; Buildah and the Python packages come from the project's cache. Buildah does
everything as root, with a storage in the cache, where an image is found again under the hash of
what it is made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from controller import __version__

from . import installation
from .errors import ClusterError
from .paths import REPOSITORY, cache_directory
from .toolchain import Toolchain

NAME = "nomad-build-service"
DEFAULT_NAME = f"{NAME}:{__version__}"
"""A tag of its own: Nomad would pull `latest` before each task."""

SUITE = "bookworm"
PYTHON = (3, 11)
"""The Python of that suite: packages with compiled parts fit no other."""

_LOCAL = f"localhost/{NAME}"
_KEPT = 3  # images of earlier states of the sources
_BASE_SCRIPT = """\
container=$($buildah from scratch)
trap '$buildah rm "$container" > /dev/null' EXIT
root=$($buildah mount "$container")
debootstrap --variant=minbase "$suite" "$root" "$mirror"
rm -f "$root"/etc/apt/sources.list.d/*
printf '%s' "$sources" > "$root/etc/apt/sources.list"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
$buildah umount "$container"
$buildah commit --quiet "$container" "$base"
"""

Progress = Callable[[str], None]


class Image:
    """The image of this repository's sources; made when it is first asked for."""

    def __init__(self, *, cache: Path | None = None, progress: Progress = print) -> None:
        self._cache = cache or cache_directory()
        self._directory = self._cache / "image"
        self._progress = progress
        self._program = Toolchain(progress=progress).obtain(["buildah"])["buildah"].path

    def make(self) -> str:
        """Return the image's name in our storage; it is made unless it is there."""
        with self._lock():
            return self._made()

    def load(self, docker_host: str = "", name: str = DEFAULT_NAME) -> None:
        """Load the image into a Docker engine, unless it is there; default: the one at hand."""
        environ = {**os.environ, **({"DOCKER_HOST": docker_host} if docker_host else {})}
        with self._lock():
            reference = self._made()
            began = time.monotonic()
            # An archive names the image as we do, too: that is how it is known again.
            tagged = subprocess.run(
                ["docker", "tag", reference, name], env=environ, capture_output=True, check=False
            )
            if tagged.returncode != 0:
                with tempfile.TemporaryDirectory(prefix="load-", dir=self._directory) as directory:
                    archive = Path(directory) / "image.tar"
                    self._buildah("push", "--quiet", reference, f"docker-archive:{archive}:{name}")
                    self._run(["docker", "load", "--input", str(archive)], environ)
            self._progress(f"{name} loaded in {time.monotonic() - began:.1f} s")

    def put(self, destination: str) -> None:
        """Copy the image to where `buildah push` can, such as docker://REGISTRY/NAME:TAG."""
        with self._lock():
            reference = self._made()
            began = time.monotonic()
            self._buildah("push", "--quiet", reference, destination)
            self._progress(f"image put to {destination} in {time.monotonic() - began:.1f} s")

    def _made(self) -> str:
        """Return the image's name in our storage; it is built unless it is there."""
        if sys.version_info[:2] != PYTHON:
            raise ClusterError(
                f"the image has Python {PYTHON[0]}.{PYTHON[1]} of Debian {SUITE}, this is"
                f" {sys.version_info[0]}.{sys.version_info[1]}: build it with `docker build --file"
                " nomad/image/Dockerfile .`"
            )
        if os.geteuid() != 0:
            raise ClusterError("scripts/image needs root: debootstrap makes a whole Debian")
        sources = debian_sources()
        base = f"{_LOCAL}-base:{_digest(_BASE_SCRIPT, *sources)}"
        reference = f"{_LOCAL}:{self._content(base)}"
        if not self._has(reference):
            if not self._has(base):
                self._make_base(base, sources)
            self._build(reference, base)
            self._remove_old()
        return reference

    def _content(self, base: str) -> str:
        files = [REPOSITORY / installation.LOCK, self._program]
        for folder in (REPOSITORY / "nomad" / "image", REPOSITORY / "controller"):
            files += [
                path
                for path in sorted(folder.rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts
            ]
        digest = hashlib.sha256(base.encode())
        for path in files:
            digest.update(f"{path.name}:{path.stat().st_mode:o}:".encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:12]

    def _make_base(self, base: str, sources: Sequence[str]) -> None:
        if shutil.which("debootstrap") is None:
            raise ClusterError(
                "debootstrap is missing; scripts/node-setup --with-demo-servers installs it"
            )
        began = time.monotonic()
        self._progress(f"making a base of Debian {SUITE} with debootstrap (once)")
        mirror = sources[0].split()[1]
        self._run(
            ["sh", "-eu", "-c", _BASE_SCRIPT],
            {
                "buildah": " ".join(self._argv()),
                "suite": SUITE,
                "mirror": mirror,
                "sources": "".join(f"{line}\n" for line in sources),
                "base": base,
            },
        )
        self._progress(f"base made in {time.monotonic() - began:.0f} s")

    def _build(self, reference: str, base: str) -> None:
        began = time.monotonic()
        self._progress(f"building {reference} (the first time a minute, later seconds)")
        with tempfile.TemporaryDirectory(prefix="context-", dir=self._directory) as directory:
            context = Path(directory)
            self._fill(context)
            arguments = {"BASE": base, "BUILDAH": "given", "PACKAGES": "given"}
            arguments["VERSION"] = __version__
            self._buildah(
                "build",
                "--isolation=chroot",
                "--network=host",
                "--layers",
                "--pull=never",
                "--format=docker",
                *_limits(),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                "--tag",
                reference,
                "--file",
                str(context / "nomad" / "image" / "Dockerfile"),
                str(context),
            )
        self._progress(f"image built in {time.monotonic() - began:.0f} s")

    def _fill(self, context: Path) -> None:
        """Lay out the build context: the repository's files, and what is given."""
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        for folder in ("nomad/image", "controller"):
            shutil.copytree(REPOSITORY / folder, context / folder, ignore=ignore)
        shutil.copytree(
            installation.packages(self._cache), context / "given" / "packages", ignore=ignore
        )
        shutil.copy2(self._program, context / "given" / "buildah")

    def _has(self, reference: str) -> bool:
        return reference in self._names()

    def _names(self) -> list[str]:
        """Return the names of all images in our storage, newest first."""
        form = "{{.Name}}:{{.Tag}}"
        listed = self._buildah("images", "--format", form, check=False)
        return listed.split()

    def _remove_old(self) -> None:
        ours = [name for name in self._names() if name.startswith(f"{_LOCAL}:")]
        for name in ours[_KEPT:]:
            self._buildah("rmi", name)

    def _argv(self) -> list[str]:
        return [
            str(self._program),
            f"--root={self._directory / 'storage'}",
            f"--runroot={self._directory / 'run'}",
            "--storage-driver=overlay",
        ]

    def _buildah(self, *arguments: str, check: bool = True) -> str:
        return self._run([*self._argv(), *arguments], check=check)

    def _run(
        self, argv: Sequence[str], variables: dict[str, str] | None = None, *, check: bool = True
    ) -> str:
        """Run a command in mount and PID namespaces of its own: nothing of it outlives it."""
        home = self._directory / "home"
        config = home / ".config" / "containers"
        for folder in (config, self._directory / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        (config / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *argv],
            env={
                **os.environ,
                "HOME": str(home),
                "TMPDIR": str(self._directory / "tmp"),
                **(variables or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise ClusterError(f"making the image failed ({' '.join(argv[:6])} …):\n{end}")
        return done.stdout

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def debian_sources() -> list[str]:
    """Return the machine's own sources of the suite as lines of a sources.list, main one first."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY) $(ORIGIN)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form], capture_output=True, text=True, check=False
    )
    found: dict[tuple[str, str], list[str]] = {}
    for line in listed.stdout.splitlines():
        uri, release, component, kind, origin = (line.split() + [""] * 5)[:5]
        if kind == "Packages" and origin == "Debian" and release.split("-")[0] == SUITE:
            found.setdefault((release, uri), []).append(component)
    lines = [f"deb {uri} {release} {' '.join(parts)}" for (release, uri), parts in found.items()]
    lines.sort(key=lambda line: line.split()[2] != SUITE)
    if not lines or lines[0].split()[2] != SUITE:
        raise ClusterError(
            f"no mirror of Debian {SUITE} is known here: the machine's apt sources name none, or"
            " `apt-get update` was never run"
        )
    return lines


def _limits() -> list[str]:
    """Buildah's options that keep to the limits of this process: it would set higher ones."""
    numbers = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(number)[1] for name, number in numbers.items()}
    return [
        f"--ulimit={name}={limit}:{limit}"
        for name, limit in hard.items()
        if limit != resource.RLIM_INFINITY
    ]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the image, and load it into the engine at hand or put it to the destination given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(
            "usage: scripts/image [make | docker-archive:FILE:NAME:TAG | docker://REGISTRY/NAME:TAG]"
        )
        return 2
    try:
        image = Image()
        if arguments == ["make"]:
            image.make()
        elif arguments:
            image.put(arguments[0])
        else:
            image.load()
    except ClusterError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
