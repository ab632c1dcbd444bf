"""What is left of a build when Nomad has forgotten it, and that it is written once."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, log_lines, serving, sse

from cluster.cluster import Cluster


def forget(builds: Builds, job_id: str) -> None:
    """Purge a build's job and collect its allocation."""
    alloc_id = builds.allocation(nomad_job_id(job_id))["ID"]
    path = nomad_job_id(job_id).replace("/", "%2F")
    builds.nomad.delete(f"/v1/job/{path}?purge=true").raise_for_status()
    builds.nomad.put("/v1/system/gc").raise_for_status()
    eventually(
        "the allocation is collected",
        lambda: (
            builds.nomad.get(f"/v1/client/fs/ls/{alloc_id}", params={"path": "/"}).status_code
            >= 400
        ),
    )


def record(cluster: Cluster, job_id: str) -> dict | None:
    answer = httpx.get(
        f"{cluster.consul.address}/v1/kv/nomad-build-service/history/{job_id}?raw",
        headers=cluster.consul.headers,
    )
    return answer.json() if answer.status_code == 200 else None


def test_a_forgotten_build_is_still_known(builds: Builds, cluster: Cluster, tmp_path: Path) -> None:
    repository = builds.dockerfile("ARG TOKEN", "RUN echo from-the-build")
    job_id = builds.submit(
        builds.request(
            repository,
            test_commands=["echo from-the-test; exit 3"],
            build_args={"TOKEN": "hunter2"},
            test={"env": {"KEY": "hunter2"}},
        )
    )
    before = builds.await_status(job_id, "FAILED")
    kept = eventually("the history has it", lambda: record(cluster, job_id))
    assert "hunter2" not in json.dumps(kept)
    forget(builds, job_id)
    with serving(cluster, tmp_path) as fresh:
        assert fresh.post("getStatus", {"job_id": job_id}).json() == before
        logs = fresh.post("getLogs", {"job_id": job_id}).json()["logs"]
        assert "from-the-build" in logs["build"]
        assert "from-the-test" in logs["test"]
        killed = fresh.post("killJob", {"job_id": job_id}).json()
        assert not killed["success"]
        events = [event for event, _ in sse(fresh.address, job_id)]
        assert ("test", "from-the-test") in log_lines(events)
        assert events[-1]["failure"]["reason"] == "TestFailed"


def test_replicas_record_and_count_a_build_once(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    request = builds.request(builds.dockerfile("RUN true"))
    owner = request["owner"]

    def counted(one: Serving) -> float:
        return one.metric(f'total_jobs{{owner="{owner}",phase="",status="SUCCEEDED"}}')

    with serving(cluster, tmp_path) as first, serving(cluster, tmp_path) as second:
        # The deployed controller is a third replica.
        job_id = builds.submit(request)
        builds.await_status(job_id, "SUCCEEDED")
        eventually("the history has it", lambda: record(cluster, job_id))
        deployed = 1 - counted(first) - counted(second)
        assert deployed in (0, 1)
    kept = record(cluster, job_id)
    assert kept is not None
    assert kept["build"]["status"] == "SUCCEEDED"


def test_what_ended_while_no_controller_ran_is_recorded(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    """A dispatch by hand: whoever runs next has it in the history."""
    child = builds.dispatch(builds.request(builds.dockerfile("RUN true")))
    builds.await_end(child)
    with serving(cluster, tmp_path) as later:
        status = later.post("getStatus", {"job_id": child}).json()
        assert status["status"] == "SUCCEEDED"
        eventually("the history has it", lambda: record(cluster, status["job_id"]))
