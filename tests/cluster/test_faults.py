"""Git servers and registries that stall or break off: right reason, bounded time, clean node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from builds import GIT_SSH, Builds, nomad_job_id
from fault_proxy import Fault, FaultProxy, fault_times, proxy
from listening import free_port

from cluster.cluster import Cluster
from cluster.http import status_of
from cluster.waiting import wait_for

pytestmark = pytest.mark.slow
STALL = 3  # seconds
BOUND = 60  # seconds, far below a build's timeout
TOKENS = "/token"
TOKEN_REGISTRY = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {directory}/data
http:
  addr: 127.0.0.1:{port}
auth:
  token:
    realm: {realm}
    service: registry
    issuer: tokens
    rootcertbundle: {certificates}
"""


@pytest.fixture(scope="module")
def impatient(cluster: Cluster, controller_address: str) -> Iterator[Builds]:
    """A deployment that waits for seconds only, with a credential for the registry's proxy."""
    path = f"nomad-build-service/pull/t{uuid.uuid4().hex[:8]}"
    login = {"username": cluster.registry.username, "password": cluster.registry.password}
    cluster.vault_put(path, login | {"registry": cluster.registry.proxy_host})
    variables = {
        "git_stall_timeout": STALL,
        "registry_stall_timeout": STALL,
        "pull_credentials_path": f"secret/{path}",
    }
    yield Builds(cluster, cluster.pack.deploy(variables))
    cluster.pack.deploy()
    cluster.vault.client().secrets.kv.v2.delete_metadata_and_all_versions(path)


def failed(builds: Builds, request: dict[str, Any], reason: str) -> dict[str, Any]:
    """The failure of a build that ends in time and leaves nothing behind."""
    begun = time.monotonic()
    status = builds.run(request, "FAILED")
    assert time.monotonic() - begun < BOUND
    failure: dict[str, Any] = status["failure"]
    assert failure["reason"] == reason, failure
    assert (failure["fix_owner"], failure["retryable"]) == ("transient", True)
    builds.assert_clean(builds.await_end(nomad_job_id(status["job_id"]))["ID"])
    return failure


@pytest.mark.parametrize("passed_on", [None, 0, 40_000])
def test_a_git_server_that_stalls(impatient: Builds, passed_on: int | None) -> None:
    """It says nothing at all, nothing to the question, or stops in the middle of the files."""
    repository = impatient.repository(
        {"Dockerfile": dockerfile(impatient), "large": "".join(map(str, range(100_000)))}
    )
    address = impatient.cluster.git_http.address.removeprefix("http://")
    with stalling(address, passed_on) as front:
        url = repository.http_url.replace(address, front)
        request = impatient.request(repository, repo_url=url)
        assert front in failed(impatient, request, "GitUnreachable")["message"]
    with serve(impatient, FaultProxy(lambda *_: None)):
        impatient.run(impatient.request(repository), "SUCCEEDED")


def test_a_git_server_that_is_mute_behind_a_living_ssh(impatient: Builds) -> None:
    """SSH answers for itself; what it should run waits for ever."""
    repository = impatient.repository({"Dockerfile": dockerfile(impatient)})
    request = impatient.request(
        repository, repo_url=repository.ssh_url, git_credentials_path=GIT_SSH
    )
    head = repository.bare / "HEAD"
    content = head.read_bytes()
    head.unlink()
    os.mkfifo(head, 0o644)
    waiting = os.open(head, os.O_RDWR)  # so that nobody who opens it sees an end
    try:
        message = failed(impatient, request, "GitUnreachable")["message"]
        assert "nothing came from the Git server" in message
    finally:
        os.close(waiting)
        head.unlink()
        head.write_bytes(content)
        repository.account.own(head)
    with serve(impatient, FaultProxy(lambda *_: None)):
        impatient.run(request, "SUCCEEDED")


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("stall", "/manifests/"),
        ("hang", "/blobs/"),
        ("reset", "/manifests/"),
        ("cut", "/blobs/"),
        (503, "/manifests/"),
    ],
)
def test_a_base_images_registry_that_fails_for_good(
    impatient: Builds, fault: Fault, part: str
) -> None:
    with serve(impatient, FaultProxy(fault_times(99, fault, "GET", part))):
        failure = failed(impatient, from_proxy(impatient), "BaseImageUnavailable")
    if fault in ("stall", "hang"):
        assert f"did nothing for {STALL} s (3 tries)" in failure["message"]
    with serve(impatient, FaultProxy(lambda *_: None)):
        impatient.run(from_proxy(impatient), "SUCCEEDED")


@pytest.mark.parametrize("fault", [500, "reset", "cut"])
def test_a_base_images_registry_that_fails_twice(impatient: Builds, fault: Fault) -> None:
    with serve(impatient, FaultProxy(fault_times(2, fault, "GET", "/blobs/"))) as faults:
        status = impatient.run(from_proxy(impatient), "SUCCEEDED")
    assert len(faults.faults) == 2
    impatient.assert_clean(impatient.await_end(nomad_job_id(status["job_id"]))["ID"])


@pytest.mark.parametrize("fault", ["half", "reset"])
def test_a_registry_that_breaks_off_every_push(impatient: Builds, fault: Fault) -> None:
    request = to_proxy(impatient)
    with serve(impatient, FaultProxy(fault_times(999, fault, "PATCH", "/blobs/"))) as faults:
        failure = failed(impatient, request, "RegistryUnavailable")
    assert failure["phase"] == "publish"
    assert "(4 tries)" in failure["message"]
    assert 4 <= len(faults.faults) < 100
    assert impatient.tags(request) == []
    with serve(impatient, FaultProxy(lambda *_: None)):
        impatient.run(request, "SUCCEEDED")
    assert impatient.tags(request) == request["image_tags"]


@pytest.mark.parametrize("phase", ["build", "publish"])
def test_a_token_service_that_fails(impatient: Builds, phase: str) -> None:
    """Of a registry that asks for its tokens, to pull a base image and to push."""

    def decide(method: str, path: str, _: int) -> Fault:
        return 500 if path == TOKENS else None

    host = impatient.cluster.registry.proxy_host
    # Who pushes what is made from nothing asks no registry before.
    from_nothing = {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}
    request = from_proxy(impatient)
    if phase == "publish":
        repository = impatient.repository(from_nothing)
        request = impatient.request(repository, registry_url=f"{host}/t{uuid.uuid4().hex[:10]}")
    with token_registry(impatient) as upstream, proxy(host, upstream, FaultProxy(decide)) as faults:
        reason = {"build": "BaseImageUnavailable", "publish": "RegistryUnavailable"}[phase]
        failure = failed(impatient, request, reason)
    assert failure["phase"] == phase
    assert "500" in failure["message"]
    assert "tries)" in failure["message"]
    assert len(faults.faults) >= 3


def from_proxy(builds: Builds) -> dict[str, Any]:
    """A build, of a new owner, whose base image comes through the proxy."""
    return builds.request(builds.repository({"Dockerfile": dockerfile(builds)}))


def to_proxy(builds: Builds) -> dict[str, Any]:
    """The same, and its image is pushed there."""
    path = f"{builds.cluster.registry.proxy_host}/t{uuid.uuid4().hex[:10]}"
    return from_proxy(builds) | {"registry_url": path}


def dockerfile(builds: Builds) -> str:
    registry = builds.cluster.registry
    base = builds.cluster.base_image.replace(registry.host, registry.proxy_host)
    return f"FROM {base}\nRUN true\n"


def serve(builds: Builds, faults: FaultProxy) -> Any:
    registry = builds.cluster.registry
    return proxy(registry.proxy_host, registry.host, faults)


@contextmanager
def token_registry(builds: Builds) -> Iterator[str]:
    """HOST:PORT of a registry that sends its callers to the proxy for a token."""
    registry, port = builds.cluster.registry, free_port()
    with tempfile.TemporaryDirectory(prefix="nbs-registry-") as directory:
        registry.account.own(Path(directory))
        config = Path(directory, "registry.yml")
        config.write_text(
            TOKEN_REGISTRY.format(
                directory=directory,
                port=port,
                realm=f"http://{registry.proxy_host}{TOKENS}",
                certificates=f"{directory}/ca.pem",
            )
        )
        shutil.copyfile(builds.cluster.state.cacert, f"{directory}/ca.pem")
        server = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **registry.account.popen_arguments(),
        )
        try:
            url = f"http://127.0.0.1:{port}/v2/"
            wait_for("the registry answers", lambda: status_of(url) == 401, seconds=10)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


@contextmanager
def stalling(upstream: str, passed_on: int | None) -> Iterator[str]:
    """A way to a server that stops after so many bytes of its answers; None: after accepting."""
    host, _, port = upstream.partition(":")
    ends: list[socket.socket] = []
    threads: list[threading.Thread] = []
    left = [passed_on]

    def pump(source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if counted and left[0] is not None:
                    chunk, left[0] = chunk[: left[0]], max(0, left[0] - len(chunk))
                target.sendall(chunk)

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                ends.append(near)
                if passed_on is None:
                    continue
                far = socket.create_connection((host, int(port)))
                ends.append(far)
                for one in ((near, far, False), (far, near, True)):
                    threads.append(threading.Thread(target=pump, args=one))
                    threads[-1].start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threads.append(threading.Thread(target=accept, args=(listening,)))
        threads[0].start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for end in (listening, *ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            for thread in threads:
                thread.join(5)
