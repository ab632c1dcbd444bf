"""Images for the Compose environment: our own image with one of the toolchain's programs in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster.cluster import Cluster
from cluster.image import DEFAULT_NAME
from cluster.servers.docker import Docker


def make(cluster: Cluster, engine: Docker) -> dict[str, str]:
    """Make the four images; the variables that compose.yaml takes their names from."""
    registry = shutil.which("docker-registry")
    assert registry, "docker-registry is missing: scripts/node-setup --with-demo-servers"
    programs = {
        name: str((cluster.state.bin / name).resolve()) for name in ("consul", "vault", "nomad")
    } | {"registry": registry}
    return {
        f"{name.upper()}_IMAGE": _image(engine, name, Path(path)) for name, path in programs.items()
    }


def _image(engine: Docker, name: str, program: Path) -> str:
    reference = f"nbs-compose-{name}:test"
    container = engine.run("create", DEFAULT_NAME).stdout.strip()
    try:
        engine.run("cp", str(program), f"{container}:/usr/local/bin/{name}")
        engine.run("commit", container, reference)
    finally:
        engine.run("rm", container)
    return reference
