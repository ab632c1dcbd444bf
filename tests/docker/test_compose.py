"""The Compose environment, brought up with `docker compose up`, and a build on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import compose_images
import httpx
import pytest
from builds import eventually

from cluster.cluster import Cluster
from cluster.pack import PACK, hcl
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


@pytest.fixture(scope="session")
def controller(
    cluster: Cluster, docker_services: Any, compose_environment: dict[str, str]
) -> Iterator[str]:
    """The pack, installed there as README.md beside compose.yaml says; its controller's address."""
    port = {name: f"127.0.0.1:{compose_environment[name]}" for name in PORTS}
    storage = cluster.state.root / "compose-storage"
    storage.mkdir(exist_ok=True)
    os.chown(storage, 1000, 1000)
    environ = {
        "PATH": f"{cluster.state.bin}:{os.environ['PATH']}",
        "HOME": str(cluster.state.root),
        "PYTHONPATH": str(REPOSITORY / "scripts"),
        "NOMAD_ADDR": f"http://{port['NOMAD_PORT']}",
        "VAULT_ADDR": f"http://{port['VAULT_PORT']}",
        "VAULT_TOKEN": "root",
    }
    variables = {
        "driver": "docker",
        "network_mode": "host",
        "auth_mode": "none",
        "storage_dir": str(storage),
        "consul_addr": f"http://{port['CONSUL_PORT']}",
        "consul_auth_method": "",
        "vault_addr": environ["VAULT_ADDR"],
        "insecure_registries": [port["REGISTRY_PORT"]],
        "git_protocols": ["https", "ssh", "http"],
    }
    file = cluster.state.config / "pack-compose.hcl"
    file.write_text("".join(f"{name} = {hcl(value)}\n" for name, value in variables.items()))
    for argv in (
        [sys.executable, "-m", "cluster.access.command", "--only", "vault", "--apply"],
        [
            "vault",
            "kv",
            "put",
            "secret/nomad-build-service/registry/any",
            "username=u",
            "password=p",
        ],
        ["nomad-pack", "run", str(PACK), "--name", "nbs", "-f", str(file)],
    ):
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def address() -> str | None:
        url = f"http://{port['CONSUL_PORT']}/v1/health/service/nomad-build-service?passing=true"
        found = httpx.get(url).json()
        return f"http://127.0.0.1:{found[0]['Service']['Port']}" if found else None

    yield eventually("the controller is healthy", address)
    for job in httpx.get(f"{environ['NOMAD_ADDR']}/v1/jobs").json():
        httpx.delete(f"{environ['NOMAD_ADDR']}/v1/job/{quote(job['ID'], safe='')}?purge=true")
    eventually(
        "its containers are gone",
        lambda: (
            not [
                one
                for one in httpx.get(f"{environ['NOMAD_ADDR']}/v1/allocations").json()
                if one["ClientStatus"] == "running"
            ]
        ),
    )
    shutil.rmtree(storage)


def test_a_build_is_published_to_its_registry(
    cluster: Cluster, controller: str, compose_environment: dict[str, str]
) -> None:
    registry = f"127.0.0.1:{compose_environment['REGISTRY_PORT']}"
    dockerfile = "FROM scratch\nCOPY --chmod=755 busybox /bin/sh\nRUN echo x > /x\n"
    files = {"Dockerfile": dockerfile, "busybox": Path("/bin/busybox").read_bytes()}
    repository = cluster.create_git_repository("compose", files, private=False)
    request = {
        "owner": "compose",
        "repo_url": repository.http_url,
        "registry_url": registry,
        "image_name": "app",
        "image_tags": ["v1"],
        "registry_credentials_path": "secret/nomad-build-service/registry/any",
        "test_commands": [["/bin/sh", "-c", "test -e /x"]],
    }
    submitted = httpx.post(f"{controller}/mcp/submitJob", json=request)
    assert submitted.status_code == 200, submitted.text
    job = {"job_id": submitted.json()["job_id"]}

    def ended() -> dict[str, Any] | None:
        status = httpx.post(f"{controller}/mcp/getStatus", json=job).json()
        return status if status["status"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None

    status = eventually("the build has ended", ended, 90)
    assert status["status"] == "SUCCEEDED", status["failure"]
    tags = httpx.get(f"http://{registry}/v2/app/tags/list").json()["tags"]
    # Beside it stands the list of what refers to the image: this registry has no referrers API.
    assert [tag for tag in tags if not tag.startswith("sha256-")] == ["v1"]
