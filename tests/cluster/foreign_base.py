"""A base image for amd64 and arm64 under one name: Debian's static busybox of both.

The foreign one comes from the machine's own Debian mirror, with lists and status of its own, so
that nothing on the machine changes.
"""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

from cluster.buildah import BUSYBOX
from cluster.cluster import Cluster
from cluster.paths import cache_directory

_APPLETS = ("sh", "cat", "echo", "uname", "true", "false", "test", "sleep")


def make(cluster: Cluster) -> str:
    """Push the image; its reference."""
    buildah = cluster.buildah
    reference = f"{cluster.registry.host}/base/two-platforms:1"
    with buildah.scratch() as scratch:
        auth = buildah.auth_file(scratch, cluster.registry.credentials)
        names = []
        for architecture, program in (("amd64", BUSYBOX), ("arm64", _foreign_busybox())):
            context = scratch / architecture
            binaries = context / "rootfs" / "bin"
            binaries.mkdir(parents=True)
            (context / "rootfs" / "tmp").mkdir()
            (binaries / "busybox").write_bytes(program.read_bytes())
            (binaries / "busybox").chmod(0o755)
            for applet in _APPLETS:
                (binaries / applet).symlink_to("busybox")
            (context / "Dockerfile").write_text("FROM scratch\nCOPY rootfs/ /\n")
            names.append(f"localhost/two-platforms:{architecture}")
            buildah.give(scratch)
            platform = f"--platform=linux/{architecture}"
            buildah.run(
                ["build", platform, "--isolation=chroot", f"--tag={names[-1]}", str(context)]
            )
        listed = f"localhost/two-platforms:{uuid.uuid4().hex}"
        buildah.run(["manifest", "create", listed, *names])
        push = ["manifest", "push", "--all", "--tls-verify=false", f"--authfile={auth}"]
        buildah.run([*push, listed, f"docker://{reference}"])
        buildah.run(["rmi", "--force", listed, *names])
    return reference


def _foreign_busybox() -> Path:
    folder = cache_directory() / "debian" / "arm64"
    program = folder / "bin" / "busybox"
    if not program.exists():
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        options = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "root",
            "Dir::State": folder / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": folder / "cache",
        }
        apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
        for command in (["update"], ["download", "busybox-static"]):
            subprocess.run([*apt, *command], check=True, cwd=folder, capture_output=True)
        (package,) = folder.glob("busybox-static_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return program
