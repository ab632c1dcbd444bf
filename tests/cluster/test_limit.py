"""How many builds may be queued or running, and what killing twice says."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import httpx
import pytest
from builds import Builds
from controllers import serving
from probe import PREFIX, copy_of_image_build

from cluster.cluster import Cluster

pytestmark = pytest.mark.slow


def test_more_builds_than_allowed_wait_outside(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    active = sum(
        job["Status"] != "dead"
        for job in builds.nomad.get("/v1/jobs", params={"prefix": "image-build"}).json()
        if "/dispatch-" in job["ID"]
    )
    settings = {"NBS_MAX_ACTIVE_BUILDS": str(active + 1)}
    key = uuid.uuid4().hex
    request = builds.request(builds.dockerfile("RUN sleep 60"), idempotency_key=key)
    with serving(cluster, tmp_path, settings) as one:
        first = httpx.post(f"{one.address}/mcp/submitJob", json=request)
        assert first.status_code == 200, first.text
        job_id = first.json()["job_id"]
        try:
            full = httpx.post(
                f"{one.address}/mcp/submitJob", json=request | {"idempotency_key": None}
            )
            assert (full.status_code, full.json()["name"]) == (429, "too_many_builds")
            assert int(full.headers["retry-after"]) > 0
            assert full.json()["retryable"]
            new_key = request | {"idempotency_key": uuid.uuid4().hex}
            assert httpx.post(f"{one.address}/mcp/submitJob", json=new_key).status_code == 429
            repeat = httpx.post(f"{one.address}/mcp/submitJob", json=request)
            assert repeat.json()["job_id"] == job_id
        finally:
            killed = httpx.post(f"{one.address}/mcp/killJob", json={"job_id": job_id})
        assert killed.json()["success"]
    builds.await_status(job_id, "CANCELLED")
    again = builds.http.post("/mcp/killJob", json={"job_id": job_id}).json()
    assert again["success"]
    assert "before" in again["message"]


def test_an_old_key_of_another_class_is_no_repeat(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    """Nomad knows a key by job, so the same key in another build class would be a new build."""
    classes = {name: {"cpu": 500, "memory": 256} for name in ("default", "other")}
    settings = {
        "NBS_NAME_PREFIX": f"{PREFIX}-",
        "NBS_MAX_ACTIVE_BUILDS": "1",
        "NBS_BUILD_CLASSES": json.dumps(classes),
    }
    with (
        copy_of_image_build(builds, lambda task: None),
        copy_of_image_build(builds, lambda task: None, build_class="other"),
        serving(cluster, tmp_path, settings) as one,
    ):
        own = Builds(cluster, one.address)
        request = own.request(
            own.dockerfile("RUN sleep 60"),
            git_credentials_path=None,
            registry_credentials_path=None,
        )
        old = request | {"idempotency_key": "old"}
        first = own.submit(old)
        own.http.post("/mcp/killJob", json={"job_id": first}).raise_for_status()
        own.await_status(first, "CANCELLED", "FAILED")
        running = own.submit(request)
        assert one.post("submitJob", old | {"class": "other"}).status_code == 429
        assert one.post("submitJob", old).json() == {
            "job_id": first,
            "status": own.status(first)["status"],
            "created": False,
            "joined": False,
            "platform_jobs": [],
        }
        one.post("killJob", {"job_id": running})
        own.await_status(running, "CANCELLED", "FAILED")
