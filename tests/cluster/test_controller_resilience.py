"""Nomad and its nodes go away and come back: the controller tells the truth all the while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, log_lines, serving, sse

from cluster.cluster import Cluster

LINES = "RUN for i in $(seq 60); do echo line-$i; sleep 0.2; done"


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(cluster, tmp_path, {"NBS_RELIST_INTERVAL": "3600"}) as one:
        yield one


@pytest.mark.slow
def test_a_nomad_agent_that_restarts_costs_no_line(
    builds: Builds, served: Serving, cluster: Cluster
) -> None:
    """Lists are an hour apart here, so the event stream must have been taken up again too."""
    job_id = builds.submit(builds.request(builds.dockerfile(LINES)))
    events: list[dict] = []

    def watch() -> None:
        events.extend(event for event, _ in sse(served.address, job_id, seconds=60))

    thread = threading.Thread(target=watch)
    thread.start()
    builds.await_log(job_id, "line-10")
    cluster.nomad.restart()
    thread.join(60)
    assert not thread.is_alive()
    assert events[-1]["event"] == "end", events[-1]
    assert events[-1]["status"] == "SUCCEEDED"
    lines = [text for _, text in log_lines(events) if text.startswith("line-")]
    assert lines == [f"line-{number}" for number in range(1, 61)]
    assert not [event for event in events if event["event"] == "missed"]


@pytest.mark.slow
def test_a_dead_nomad_is_503_and_a_build_goes_on(
    builds: Builds, served: Serving, cluster: Cluster
) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile(LINES)))
    builds.await_log(job_id, "line-2")
    cluster.nomad.kill()
    try:
        answer = served.post("getStatus", {"job_id": job_id})
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("nomad: ")
        assert httpx.get(f"{served.address}/ready").status_code == 503
    finally:
        cluster.nomad.start()
    final = eventually("the build ends", lambda: _final(served, job_id), 90)
    assert final["status"] == "SUCCEEDED"


def _final(served: Serving, job_id: str) -> dict | None:
    answer = served.post("getStatus", {"job_id": job_id})
    if answer.status_code != 200:
        return None
    build = answer.json()
    return build if build["status"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None


@pytest.mark.slow
def test_a_drained_node_is_a_failure_to_try_again(
    builds: Builds, served: Serving, cluster: Cluster
) -> None:
    request = builds.request(builds.dockerfile(LINES))
    job_id = builds.submit(request)
    builds.await_log(job_id, "line-2")
    allocation = builds.allocation(nomad_job_id(job_id))
    assert allocation is not None
    node = f"/v1/node/{allocation['NodeID']}/drain"
    drain = {"Deadline": 1_000_000_000, "IgnoreSystemJobs": True}
    builds.nomad.post(node, json={"DrainSpec": drain, "MarkEligible": False}).raise_for_status()
    try:
        final = eventually("the build ends", lambda: _final(served, job_id))
    finally:
        builds.nomad.post(node, json={"DrainSpec": None, "MarkEligible": True}).raise_for_status()
        cluster.pack.wait_healthy()
    assert final["status"] == "FAILED"
    assert final["failure"]["reason"] == "NodeDrained"
    assert final["failure"]["retryable"]
    assert builds.tags(request) == []


@pytest.mark.slow
def test_a_stopped_allocation_is_built_again(builds: Builds, served: Serving) -> None:
    request = builds.request(builds.dockerfile("RUN echo once; sleep 3"))
    job_id = builds.submit(request)
    builds.await_log(job_id, "once")
    first = builds.allocation(nomad_job_id(job_id))
    assert first is not None
    builds.nomad.post(f"/v1/allocation/{first['ID']}/stop").raise_for_status()
    events = [event for event, _ in sse(served.address, job_id)]
    assert events[-1]["status"] == "SUCCEEDED"
    final = served.post("getStatus", {"job_id": job_id}).json()
    assert final["alloc_id"] != first["ID"]
    assert builds.tags(request) == ["v1"]


@pytest.mark.slow
def test_the_task_api_socket_is_enough(builds: Builds, cluster: Cluster) -> None:
    """Without nomad_addr the controller uses the socket and the identity that Nomad gives it."""
    try:
        address = cluster.pack.deploy({"nomad_addr": ""})
        settings = httpx.get(f"{address}/ready").json()["settings"]
        assert settings["nomad_addr"]["source"] == "default"
        assert settings["nomad_unix_addr"]["value"].endswith("/api.sock")
        there = Builds(cluster, address)
        job_id = there.submit(there.request(there.dockerfile("RUN echo by-socket")))
        events = [event for event, _ in sse(address, job_id)]
        assert ("build", "by-socket") in log_lines(events)
        assert events[-1]["status"] == "SUCCEEDED"
    finally:
        cluster.pack.deploy()
