"""What a RUN step and a test command reach from inside their containers: tried, not assumed.

Once with the host's network, as the embedded cluster's servers on loopback want it, and once with
the engine's bridge, as most clusters have it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builds import Builds, nomad_job_id
from copies import copy_of_image_build, outcome
from listening import host_address, listener, metadata_service
from near import servers_at

from cluster.image import DEFAULT_NAME
from cluster.servers.docker import Docker

LISTEN = "import socket; s = socket.create_server(('', 7777)); s.accept(); print('reached')"


def unreachable(*targets: str) -> str:
    """A command that fails where one of the targets (`ADDRESS PORT`) lets it connect."""
    quoted = " ".join(f"'{target}'" for target in targets)
    return f"for t in {quoted}; do if echo leaked | timeout 3 nc $t; then exit 1; fi; done"


@contextmanager
def neighbour(engine: Docker) -> Iterator[tuple[str, str]]:
    """A container on the bridge that listens on port 7777: its name and address."""
    started = engine.run("run", "--detach", DEFAULT_NAME, "python3", "-uc", LISTEN)
    name = started.stdout.strip()
    try:
        form = "{{.NetworkSettings.IPAddress}}"
        yield name, engine.run("inspect", "--format", form, name).stdout.strip()
    finally:
        engine.run("rm", "--force", name)


def test_step_and_test_reach_no_near_address(builds: Builds, engine: Docker) -> None:
    own = host_address()
    with (
        listener("127.0.0.1") as (near_port, near),
        listener("0.0.0.0") as (far_port, far),
        neighbour(engine) as (name, neighbour_address),
        metadata_service() as metadata,
    ):
        targets = (
            f"127.0.0.1 {near_port}",
            f"{own} {far_port}",
            f"{engine.gateway} {far_port}",
            f"10.0.2.2 {near_port}",
            f"{neighbour_address} 7777",
        )
        # The listeners are real: the host itself reaches them.
        socket.create_connection(("127.0.0.1", near_port)).sendall(b"from the host")
        repository = builds.dockerfile(f"RUN {unreachable(*targets)}", f"RUN {metadata.closed}")
        request = builds.request(
            repository,
            test_commands=[
                unreachable(*targets),
                metadata.closed,
                'test "$(grep -c : /proc/net/dev)" = 1 && grep -q lo: /proc/net/dev',
                'test -z "$(ls /sys/class/net /sys/devices/virtual/net | grep -v :$)"',
            ],
        )
        builds.run(request, "SUCCEEDED")
        assert (near, far) == ([b"from the host"], [])
        assert engine.run("logs", name).stdout == ""
        socket.create_connection((neighbour_address, 7777)).close()


def test_step_and_test_see_no_process_and_no_file_but_their_own(
    builds: Builds, engine: Docker
) -> None:
    """With another owner's build running beside, in the middle of a step that can be told."""
    other = builds.request(builds.dockerfile("RUN echo has-begun; sleep 4242 & sleep 4242; true"))
    other_job = builds.submit(other)
    builds.await_log(other_job, "has-begun")
    allocation = builds.allocation(nomad_job_id(other_job))
    assert allocation
    state = builds.cluster.state.root
    probes = [
        "! cat /proc/[0-9]*/comm | grep -E 'nomad|dockerd|containerd'",
        "! cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep 'sleep [4]242'",
        f"test ! -e {state} && test ! -e /alloc && test ! -e /secrets && test ! -e /local",
        "for p in /proc/[0-9]*; do test ! -e $p/root/secrets || exit 1; done",
        "! cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep ^NBS_",
        "! chroot / /bin/true 2>/dev/null",
        "! mount -t proc proc /mnt 2>/dev/null && ! mknod /b b 7 0 2>/dev/null",
        "test ! -e /var/run/docker.sock && test ! -e /run/docker.sock",
    ]
    lines = [f"RUN {probe}" for probe in probes]
    request = builds.request(builds.dockerfile("RUN mkdir -p /mnt", *lines), test_commands=probes)
    try:
        builds.run(request, "SUCCEEDED")
        # Signals reach what runs in the step's own namespace: Buildah, at most.
        killing = builds.request(builds.dockerfile("RUN kill -9 -1; sleep 1"))
        assert builds.run(killing, "FAILED")["failure"]["phase"] == "build"
        assert builds.status(other_job)["status"] == "BUILDING"
    finally:
        builds.http.post("/mcp/killJob", json={"job_id": other_job})
    builds.await_status(other_job, "CANCELLED")


def test_on_the_bridge(builds: Builds, engine: Docker, tmp_path: Path) -> None:
    """Git, Vault and registry are reached over the bridge; steps and tests reach none of that."""
    cluster, gateway = builds.cluster, engine.gateway

    def there(text: str) -> str:
        return text.replace("127.0.0.1", gateway)

    def change(task: dict[str, Any]) -> None:
        task["Config"]["network_mode"] = "bridge"
        task["Env"] = {name: there(value) for name, value in task["Env"].items()}
        task["Env"]["NBS_PULL_CREDENTIALS_PATH"] = "secret/nomad-build-service/pull/bridge"
        # Of the node's addresses Nomad tells one; this node has only loopback to tell.
        task["Env"]["NBS_NODE_ADDRESS"] = host_address()

    registry = cluster.registry
    cluster.vault_put(
        "nomad-build-service/pull/bridge",
        {
            "registry": there(registry.host),
            "username": registry.username,
            "password": registry.password,
        },
    )
    with (
        listener("127.0.0.1") as (near_port, near),
        listener("0.0.0.0") as (far_port, far),
        neighbour(engine) as (name, neighbour_address),
        servers_at(cluster, gateway, tmp_path),
        metadata_service() as metadata,
        copy_of_image_build(builds, change) as job,
    ):
        registry_port = registry.host.rpartition(":")[2]
        closed = unreachable(
            f"127.0.0.1 {near_port}",
            f"{gateway} {far_port}",
            f"{gateway} {registry_port}",
            f"{host_address()} {far_port}",
            f"{neighbour_address} 7777",
            f"10.0.2.2 {far_port}",
        )
        # What is closed to a step is open to the container around it.
        reaching = f"import socket; socket.create_connection(('{gateway}', {far_port})).send(b'x')"
        engine.run("run", "--rm", DEFAULT_NAME, "python3", "-c", reaching)
        lines = f"FROM {there(cluster.base_image)}\nRUN {closed}\nRUN {metadata.closed}\n"
        repository = builds.repository({"Dockerfile": lines})
        request = builds.request(repository, test_commands=[closed, metadata.closed])
        urls = {name: there(request[name]) for name in ("repo_url", "registry_url")}
        ended = builds.await_end(builds.dispatch(request | urls, job), 120)
        found = outcome(builds, ended)
        assert found["status"] == "SUCCEEDED", found["failure"]
        assert builds.tags(request) == ["v1"]
        assert (near, far) == ([], [b"x"])
        assert engine.run("logs", name).stdout == ""
