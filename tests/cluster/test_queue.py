"""Builds that wait for a node, and equal requests that share a build."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually
from controllers import serving

from cluster.cluster import Cluster
from cluster.unplaceable import variant

PREFIX, MEMORY = "queue-", 900_000


@pytest.fixture(scope="module")
def crowded(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Builds]]:
    """Two controllers whose builds need more memory than any node has."""

    def too_large(job: dict[str, Any]) -> None:
        for task in job["TaskGroups"][0]["Tasks"]:
            task["Resources"]["MemoryMB"] = MEMORY // 2
            task["Resources"]["MemoryMaxMB"] = 0

    settings, logs = {"NBS_NAME_PREFIX": PREFIX}, tmp_path_factory.mktemp("queue")
    with (
        variant(cluster, PREFIX, too_large),
        serving(cluster, logs, settings) as one,
        serving(cluster, logs, settings) as other,
    ):
        yield [Builds(cluster, one.address), Builds(cluster, other.address)]


def test_why_a_build_waits_and_its_place(crowded: list[Builds]) -> None:
    here, there = crowded
    repository = here.dockerfile("RUN true")
    ids = [here.submit(here.request(repository, priority=priority)) for priority in (50, 50, 70)]

    def places() -> list[int | None]:
        return [there.status(job_id).get("queue_position") for job_id in ids]

    eventually("every build has its place", lambda: places() == [2, 3, 1])
    message = there.status(ids[0])["message"]
    assert message == (
        f"waits for a node: no node has {MEMORY} MB of memory free; place 2 in the queue of builds"
    )
    for job_id in ids:
        here.http.post("/mcp/killJob", json={"job_id": job_id})
        here.await_status(job_id, "CANCELLED")
    assert "queue_position" not in there.status(ids[1])


def test_equal_requests_of_a_commit_share_the_build_that_runs(crowded: list[Builds]) -> None:
    here, there = crowded
    repository = here.dockerfile("RUN true")
    request = here.request(repository, git_ref=repository.commit)

    def submit(number: int) -> dict[str, Any]:
        one = crowded[number % 2]
        sent = request | {"priority": 40 + number}  # who asks does not change what is wanted
        answer: dict[str, Any] = one.http.post("/mcp/submitJob", json=sent).json()
        return answer

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(submit, range(12)))
    (job_id,) = {answer["job_id"] for answer in answers}
    assert sorted(answer["created"] for answer in answers) == [False] * 11 + [True]
    assert all(answer["joined"] != answer["created"] for answer in answers)

    different = [
        {"build_args": {"A": "1"}},
        {"owner": "somebody-else"},
        {"target": "x"},
        {"patch": "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n"},
        {"image_tags": ["v2"]},
        {"git_ref": "main"},
        {"git_ref": repository.commit[:12]},
        {"idempotency_key": "mine"},
    ]
    others = {here.submit(request | change) for change in (*different, {"git_ref": "main"})}
    assert len(others) == len(different) + 1  # a branch is never taken for equal
    assert job_id not in others

    # What has ended is not joined; the next ones share again, whoever is asked.
    for _ in range(3):
        here.http.post("/mcp/killJob", json={"job_id": job_id})
        here.await_status(job_id, "CANCELLED")
        again, joined = submit(0), submit(1)
        assert again["created"]
        assert again["job_id"] != job_id
        assert (joined["job_id"], joined["joined"]) == (again["job_id"], True)
        job_id = again["job_id"]
    with_memory_lost = Builds(here.cluster, there.address)
    assert with_memory_lost.http.post("/mcp/submitJob", json=request).json()["joined"]


def test_a_limit_lets_a_joining_request_through(
    crowded: list[Builds], cluster: Cluster, tmp_path: Path
) -> None:
    settings = {
        "NBS_NAME_PREFIX": PREFIX,
        "NBS_OWNER_POLICIES": '{"*": {"max_running": 1}}',
    }
    with serving(cluster, tmp_path, settings) as service:
        own = Builds(cluster, service.address)
        repository = own.dockerfile("RUN true")
        request = own.request(repository, git_ref=repository.commit)
        first = own.submit(request)
        assert own.submit(request) == first
        refused = own.http.post("/mcp/submitJob", json=request | {"target": "other"})
        assert refused.status_code == 429
        own.http.post("/mcp/killJob", json={"job_id": first})
        own.await_status(first, "CANCELLED")
        second = own.submit(request)
        assert second != first
        assert own.http.post("/mcp/submitJob", json=request | {"target": "x"}).status_code == 429
