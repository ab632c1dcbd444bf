"""The Debian packages of a build node and of the demo's servers. Standard library only.

A package counts as there when the file we need of it exists, so that the check also holds on
machines that had the program from elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError

POLICY = Path("/usr/sbin/policy-rc.d")

POLICY_TEXT = """\
#!/bin/sh
# Put here by nomad-build-service's node-setup while it installs packages; it forbids their
# daemons to start. Gone when node-setup is done.
exit 101
"""


@dataclass(frozen=True)
class Package:
    """A Debian package, a file by which it is known, and its units that must not run."""

    name: str
    files: tuple[str, ...]
    units: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Say whether one of the package's files is there."""
        return any(Path(file).exists() for file in self.files)


def _multiarch() -> str:
    return f"{platform.machine()}-linux-gnu"


def _program(name: str) -> tuple[str, ...]:
    return tuple(
        f"{directory}/{name}"
        for directory in (
            "/usr/bin",
            "/usr/sbin",
            "/bin",
            "/sbin",
            "/usr/local/bin",
            "/usr/local/sbin",
        )
    )


NODE_PACKAGES: tuple[Package, ...] = (
    Package("ca-certificates", ("/etc/ssl/certs/ca-certificates.crt",)),
    Package("git", _program("git")),
    Package("git-lfs", _program("git-lfs")),
    Package("openssh-client", _program("ssh")),
    Package("skopeo", _program("skopeo")),
    Package("uidmap", _program("newuidmap")),
    Package("runc", _program("runc")),
    Package("netavark", ("/usr/lib/podman/netavark", *_program("netavark"))),
    Package("slirp4netns", _program("slirp4netns")),
    Package("iproute2", _program("ip")),
    Package("fuse-overlayfs", _program("fuse-overlayfs")),
    Package("libseccomp2", (f"/usr/lib/{_multiarch()}/libseccomp.so.2",)),
)

BUILD_PACKAGES: tuple[Package, ...] = (
    Package("gcc", _program("gcc")),
    Package("libc6-dev", ("/usr/include/stdio.h",)),
    Package("pkg-config", _program("pkg-config")),
    Package("libseccomp-dev", ("/usr/include/seccomp.h",)),
    Package(
        "python3-venv",
        (
            "/usr/lib/python3.11/ensurepip",
            "/usr/lib/python3/ensurepip",
            "/usr/lib/python3.12/ensurepip",
            "/usr/lib/python3.13/ensurepip",
        ),
    ),
)
"""What compiling the pinned programs needs, where no ready binary can be had."""

DEMO_PACKAGES: tuple[Package, ...] = (
    Package("busybox-static", ("/bin/busybox",)),
    Package("docker-registry", _program("docker-registry"), ("docker-registry.service",)),
    Package("lighttpd", _program("lighttpd"), ("lighttpd.service",)),
    Package("openssh-server", ("/usr/sbin/sshd",), ("ssh.service", "ssh.socket")),
    Package("apache2-utils", _program("htpasswd")),
    Package("npm", _program("npm")),
    Package("prometheus", _program("prometheus"), ("prometheus.service",)),
    Package("debootstrap", _program("debootstrap")),
    Package(
        "docker.io",
        _program("dockerd"),
        ("docker.service", "docker.socket", "containerd.service"),
    ),
)

EMULATION_PACKAGES: tuple[Package, ...] = (
    Package("qemu-user-static", ("/usr/lib/binfmt.d/qemu-aarch64.conf",)),
)
"""What lets a node build for platforms other than its own."""


def absent(packages: Sequence[Package]) -> list[Package]:
    """Return those packages that are not there."""
    return [package for package in packages if not package.present]


def install(packages: Sequence[Package]) -> None:
    """Install packages with apt-get, without starting (now or at boot) what they bring."""
    names = [package.name for package in packages]
    if shutil.which("apt-get") is None:
        raise ClusterError(
            "this is no Debian machine (no apt-get). Install what gives these Debian packages'"
            f" programs, then run node-setup again: {' '.join(names)}"
        )
    with _no_daemons():
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *names])
    units = [unit for package in packages for unit in package.units]
    if units and shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", *units], capture_output=True, check=False)
    elif shutil.which("update-rc.d"):
        for unit in units:
            argv = ["update-rc.d", unit.partition(".")[0], "disable"]
            subprocess.run(argv, capture_output=True, check=False)
    still = absent(packages)
    if still:
        raise ClusterError(
            "apt-get was content, but files are missing of: "
            + " ".join(f"{package.name} ({package.files[0]})" for package in still)
        )


@contextlib.contextmanager
def _no_daemons() -> Iterator[None]:
    """Forbid package scripts to start daemons; an existing policy is left as it is."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _run(argv: list[str]) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip()
        raise ClusterError(f"{' '.join(argv)} ended with {done.returncode}:\n{words[-3000:]}")
