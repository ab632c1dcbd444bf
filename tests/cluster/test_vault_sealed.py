"""Vault is sealed: builds end at once with the reason, and the next one works."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id, process_of

from cluster.cluster import Cluster

pytestmark = pytest.mark.slow
BOUND = 60  # seconds, far below a build's timeout


def test_vault_is_sealed_before_a_build(builds: Builds) -> None:
    """Nothing is dispatched; what was dispatched past the controller ends by itself."""
    # The controller does not ask again about a path that it has just seen.
    path = f"nomad-build-service/git/t{uuid.uuid4().hex[:8]}"
    secrets = builds.cluster.vault.client().secrets.kv.v2
    known = secrets.read_secret_version(
        "nomad-build-service/git/demo", raise_on_deleted_version=True
    )["data"]["data"]
    builds.cluster.vault_put(path, known)
    request = builds.request(builds.dockerfile("RUN true"), git_credentials_path=f"secret/{path}")
    with sealed(builds.cluster):
        answer = httpx.post(f"{builds.address}/mcp/submitJob", json=request)
        assert answer.status_code == 503
        assert "sealed" in answer.json()["detail"]
        checked = httpx.post(f"{builds.address}/mcp/checkJob", json=request, timeout=60)
        assert "sealed" in checked.text
        job_id = builds.dispatch(request)  # past the controller
        failure = builds.await_status(job_id, "FAILED", seconds=BOUND)["failure"]
    assert (failure["reason"], failure["phase"]) == ("VaultUnavailable", "build")
    assert "sealed" in failure["message"]
    assert (failure["fix_owner"], failure["retryable"]) == ("transient", True)
    builds.assert_clean(builds.await_end(nomad_job_id(job_id))["ID"])
    builds.run(request | {"image_tags": ["after"]}, "SUCCEEDED")
    secrets.delete_metadata_and_all_versions(path)


def test_vault_is_sealed_while_a_build_runs(builds: Builds) -> None:
    """What it has read already it keeps; what it needs to publish it cannot have."""
    token = f"waits-{uuid.uuid4().hex}"
    waiting = f"echo {token}; trap 'exit 0' USR1; while true; do sleep 0.05; done"
    request = builds.request(builds.dockerfile(f"RUN {waiting}"))
    job_id = builds.submit(request)
    shell = f"/bin/sh\0-c\0echo {token};".encode()
    process = eventually("the step runs", lambda: process_of(shell), 20)
    with sealed(builds.cluster):
        os.kill(process, signal.SIGUSR1)
        status = builds.await_status(job_id, "FAILED", seconds=BOUND)
    assert (status["failure"]["reason"], status["failure"]["phase"]) == (
        "VaultUnavailable",
        "publish",
    )
    assert status["phases"]["build"]["status"] == "succeeded"
    builds.assert_clean(builds.await_end(nomad_job_id(job_id))["ID"])
    assert "sealed" in status["failure"]["message"]
    builds.run(builds.request(builds.dockerfile("RUN true")), "SUCCEEDED")


@contextmanager
def sealed(cluster: Cluster) -> Iterator[None]:
    cluster.vault.client().sys.seal()
    try:
        yield
    finally:
        cluster.vault.after_ready()  # unseals, and waits until it is active
