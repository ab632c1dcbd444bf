"""Intermediate images in a real registry: removed with their build, and only then."""

from __future__ import annotations

import copy
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually
from controllers import Serving, serving

from cluster import skopeo
from cluster.cluster import Cluster
from controller.contract import image_names

# Each of them takes more than ten seconds, or starts programs that do.
pytestmark = pytest.mark.slow

PATH = "nbs/intermediate"
REFUSING = """\
version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    settings = {"NBS_INTERMEDIATE_REPOSITORY": f"{cluster.registry.host}/{PATH}"}
    with serving(cluster, tmp_path, settings) as one:
        yield one


def cleanup(served: Serving, **request: Any) -> dict[str, Any]:
    answer = served.post("cleanup", request)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def build(builds: Builds) -> tuple[str, str]:
    """A build that has ended: its job_id and the image with its digest."""
    job_id = builds.submit(builds.request(builds.dockerfile("RUN true")))
    status = builds.await_status(job_id, "SUCCEEDED")
    return job_id, f"{status['image']}@{status['digest']}"


def push(cluster: Cluster, image: str, reference: str) -> None:
    """What a phase that keeps an intermediate image would do."""
    skopeo.run(
        cluster.registry.credentials,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{image}",
        f"docker://{reference}",
    )


def tags(address: str, auth: tuple[str, str] | None = None) -> list[str]:
    answer = httpx.get(f"{address}/v2/{PATH}/tags/list", auth=auth)
    assert answer.status_code in (200, 404), answer.text
    return sorted(answer.json().get("tags") or [])


def children(builds: Builds) -> set[str]:
    """The cleanup jobs that Nomad has; those that failed stay for their logs."""
    found = builds.nomad.get("/v1/jobs", params={"prefix": "image-cleanup/"}).json()
    return {job["ID"] for job in found}


def test_an_intermediate_image_goes_with_its_build(
    builds: Builds, cluster: Cluster, served: Serving
) -> None:
    registry = cluster.registry
    auth = (registry.username, registry.password)
    repository = f"{registry.host}/{PATH}"
    others = children(builds)
    (alone, first), (shared, second), (without, _) = (build(builds) for _ in range(3))
    names = {one: image_names.intermediate(repository, one) for one in (alone, shared)}
    push(cluster, first, names[alone])
    push(cluster, second, names[shared])
    push(cluster, second, f"{repository}:another-build")
    before = tags(registry.address, auth)
    try:
        would = cleanup(served, job_id=alone, dry_run=True)
        assert would["removed"]["images"] == [names[alone]]
        assert tags(registry.address, auth) == before

        done = cleanup(served, job_id=alone)
        assert done["success"]
        assert done["removed"]["images"] == [names[alone]]
        assert sorted({*before} - {*tags(registry.address, auth)}) == [alone]
        assert cleanup(served, job_id=alone)["removed"]["images"] == []

        kept = cleanup(served, job_id=shared)
        assert not kept["success"]
        assert "another-build" in kept["kept"][0]["why"]
        assert shared in tags(registry.address, auth)
        assert cleanup(served, job_id=without)["success"]
        assert children(builds) <= others  # the jobs that did it are gone as well
    finally:
        for reference in (second, f"{repository}:another-build"):
            skopeo.run(
                registry.credentials, "delete", "--tls-verify=false", f"docker://{reference}"
            )
    # The published images are untouched.
    assert registry.manifest(first.partition("/")[2].partition("@")[0], "v1")


def test_a_registry_that_refuses_deletion_keeps_the_image(
    builds: Builds, cluster: Cluster, served: Serving, tmp_path: Path
) -> None:
    job_id, image = build(builds)
    with refusing_registry(tmp_path) as host, intermediate_repository(builds, f"{host}/{PATH}"):
        push(cluster, image, image_names.intermediate(f"{host}/{PATH}", job_id))
        done = cleanup(served, job_id=job_id)
        assert not done["success"]
        assert done["cleaned_jobs"] == []
        assert done["removed"]["images"] == []
        assert done["removed"]["history"] == [job_id]
        assert "unsupported" in done["kept"][0]["why"].lower()
        assert tags(f"http://{host}") == [job_id]


def test_a_registry_that_is_down_is_named(builds: Builds, served: Serving) -> None:
    job_id, _ = build(builds)
    with intermediate_repository(builds, f"127.0.0.1:{free_port()}/{PATH}"):
        done = cleanup(served, job_id=job_id)
    assert not done["success"]
    assert "RegistryUnavailable" in done["kept"][0]["why"]
    assert cleanup(served, job_id=job_id)["success"]  # once it is back, repeating is enough


@contextmanager
def intermediate_repository(builds: Builds, repository: str) -> Iterator[None]:
    """Register image-cleanup with another intermediate_repository for a while."""
    job = builds.job("image-cleanup")
    changed = copy.deepcopy(job)
    env = changed["TaskGroups"][0]["Tasks"][0]["Env"]
    env["NBS_INTERMEDIATE_REPOSITORY"] = repository
    env["NBS_INSECURE_REGISTRIES"] += f",{repository.partition('/')[0]}"
    builds.nomad.post("/v1/jobs", json={"Job": changed}).raise_for_status()
    try:
        yield
    finally:
        builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def refusing_registry(directory: Path) -> Iterator[str]:
    """A registry as Debian ships it: deletion is not enabled."""
    port = free_port()
    config = directory / "refusing.yml"
    config.write_text(REFUSING.format(root=directory / "registry", port=port))
    with (directory / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log
        )
    try:
        eventually("the registry answers", lambda: _answers(port), 20)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/").status_code == 200
    except httpx.HTTPError:
        return False
