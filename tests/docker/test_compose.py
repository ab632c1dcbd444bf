"""The Compose environment, brought up with `docker compose up`, and a build on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_images
import httpx
import pytest
from builds import eventually

from cluster.cluster import Cluster
from cluster.paths import REPOSITORY
from cluster.servers.docker import Docker
from cluster.toolchain import Toolchain

COMPOSE = REPOSITORY / "nomad" / "compose" / "compose.yaml"
PORTS = (
    "CONSUL_PORT",
    "CONSUL_SERVER_PORT",
    "CONSUL_SERF_PORT",
    "VAULT_PORT",
    "NOMAD_PORT",
    "NOMAD_RPC_PORT",
    "NOMAD_SERF_PORT",
    "REGISTRY_PORT",
)


@pytest.fixture(scope="session")
def compose_environment(
    cluster: Cluster, engine: Docker, docker_compose_project_name: str
) -> Iterator[dict[str, str]]:
    """What compose.yaml reads from the environment: our images, free ports, our engine."""
    data = cluster.state.root / "compose"
    data.mkdir(exist_ok=True)
    os.chown(data, 1000, 1000)
    socket_file = Path(engine.host.removeprefix("unix://"))
    values = {
        "DOCKER_HOST": engine.host,
        "DOCKER_SOCKET": str(socket_file),
        "DOCKER_GID": str(socket_file.stat().st_gid),
        "NOMAD_DATA_DIR": str(data),
        **compose_images.make(cluster, engine),
        **{name: str(cluster.nomad.ports.get(f"compose-{name}")) for name in PORTS},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        try:
            yield values
        finally:
            # Where `up` fails, pytest-docker takes nothing down.
            label = f"label=com.docker.compose.project={docker_compose_project_name}"
            left = engine.run("ps", "--all", "--quiet", "--filter", label).stdout.split()
            if left:
                engine.run("rm", "--force", "--volumes", *left)
            shutil.rmtree(data)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return str(Toolchain().obtain(["docker-compose"])["docker-compose"].path)


@pytest.fixture(scope="session")
def docker_compose_file(compose_environment: dict[str, str]) -> str:
    return str(COMPOSE)


def test_every_server_answers(docker_services: Any, compose_environment: dict[str, str]) -> None:
    def get(name: str, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{compose_environment[name]}{path}", timeout=5)

    assert get("CONSUL_PORT", "/v1/status/leader").json()
    assert get("VAULT_PORT", "/v1/sys/health").json()["sealed"] is False
    docker_services.wait_until_responsive(
        lambda: get("REGISTRY_PORT", "/v2/").status_code == 200, timeout=30, pause=0.1
    )

    def node() -> dict[str, Any] | None:
        nodes = get("NOMAD_PORT", "/v1/nodes").json()
        return nodes[0] if nodes and nodes[0]["Status"] == "ready" else None

    drivers = eventually("Nomad's node is ready", node)["Drivers"]
    assert drivers["docker"]["Healthy"] is True
