"""A real Docker engine of the session's own, and the pack deployed on it with driver docker.

Where the engine cannot be had the tests fail: it is one of the things that they are about.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually
from operators import access_setup

from cluster.cluster import Cluster
from cluster.image import DEFAULT_NAME, Image
from cluster.node_setup import main as node_setup_main
from cluster.servers.docker import Docker

HERE = Path(__file__).parent
PREFIX = "docker-"
ACCESS = ("--name-prefix", PREFIX, "--role-prefix", "docker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def engine(cluster: Cluster) -> Iterator[Docker]:
    """The engine with our image, and Nomad knowing of it."""
    engine = cluster.docker
    engine.start()
    Image().load(engine.host, DEFAULT_NAME)

    def drivers() -> dict[str, Any]:
        found: dict[str, Any] = cluster.nomad.node()["Drivers"]
        return found

    if not drivers().get("docker", {}).get("Healthy"):
        # Nomad looks for an engine every half minute; at its start it looks at once.
        cluster.nomad.restart()
        eventually("Nomad knows the engine", lambda: drivers()["docker"]["Healthy"], 40)
    yield engine
    if not os.environ.get("NBS_TEST_STATE_DIR"):
        engine.stop()


def variables(cluster: Cluster) -> dict[str, object]:
    """The pack's variables for driver docker, the embedded cluster's servers on loopback."""
    prefix, storage = cluster.state.root / "docker-node", cluster.state.root / "docker-storage"
    node_setup = ["--docker", "--prefix", str(prefix), "--storage", str(storage)]
    assert node_setup_main(node_setup) == 0
    return {
        "name_prefix": PREFIX,
        "driver": "docker",
        "image": DEFAULT_NAME,
        "network_mode": "host",
        "seccomp_profile": str(prefix / "seccomp.json"),
        "storage_dir": str(storage),
        "vault_role_prefix": "docker",
        "consul_auth_method": "docker",
    }


@pytest.fixture(scope="session")
def address(cluster: Cluster, engine: Docker) -> Iterator[str]:
    """The controller's address; it runs in the engine, too."""
    allowed = access_setup(cluster, *ACCESS, "--apply")
    assert allowed.returncode == 0, allowed.stderr
    yield cluster.pack.deploy(variables(cluster), name="docker")
    if not os.environ.get("NBS_TEST_STATE_DIR"):
        cluster.pack.destroy(name="docker")
        taken_back = access_setup(cluster, *ACCESS, "--undo", "--apply")
        assert taken_back.returncode == 0, taken_back.stderr


@pytest.fixture
def builds(cluster: Cluster, address: str) -> Builds:
    return Builds(cluster, cluster.pack.wait_healthy(PREFIX))
