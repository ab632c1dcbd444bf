"""Builds as tasks, for clients that declare the extension; and any replica answers any call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually
from controllers import Serving, serving
from mcp_requests import LEGACY, MODERN, TASKS, Mcp

from cluster.cluster import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    with serving(cluster, tmp_path_factory.mktemp("controller")) as one:
        yield one


@pytest.fixture
def mcp(served: Serving) -> Mcp:
    return Mcp(served.address, capabilities=TASKS)


def start(mcp: Mcp, request: dict[str, Any]) -> dict[str, Any]:
    task = mcp.result("tools/call", {"name": "submitJob", "arguments": request})
    assert task["resultType"] == "task"
    assert not task.keys() & {"result", "error", "task", "content"}
    return task


def follow(mcp: Mcp, task_id: str) -> list[dict[str, Any]]:
    """Every state of a task until it is over, asked for as often as it says."""
    seen = [mcp.result("tasks/get", {"taskId": task_id})]
    deadline = time.monotonic() + 60
    while seen[-1]["status"] == "working":
        assert time.monotonic() < deadline, seen[-1]
        time.sleep(seen[-1]["pollIntervalMs"] / 4000)
        seen.append(mcp.result("tasks/get", {"taskId": task_id}))
    return seen


def test_a_build_is_a_task_from_its_start_to_its_end(mcp: Mcp, builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo hello && sleep 1"))
    task = start(mcp, request)
    assert task["status"] == "working"
    assert {type(task["ttlMs"]), type(task["pollIntervalMs"])} == {int}
    assert datetime.fromisoformat(task["createdAt"]).tzinfo is not None
    assert builds.status(task["taskId"])["job_id"] == task["taskId"]  # the task is the build
    *working, last = follow(mcp, task["taskId"])
    assert any("BUILDING" in one["statusMessage"] for one in working)
    assert not any("result" in one for one in working)
    assert (last["status"], last["resultType"]) == ("completed", "complete")
    result = last["result"]
    assert not result.get("isError")
    document = result["structuredContent"]
    assert json.loads(result["content"][0]["text"]) == document
    assert document["digest"] == builds.digest(request, "v1")
    times = [datetime.fromisoformat(one["lastUpdatedAt"]) for one in working] + [
        datetime.fromisoformat(last["lastUpdatedAt"])
    ]
    assert times == sorted(times)


def test_a_failed_build_is_a_completed_task_with_an_error(mcp: Mcp, builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo no such colour >&2 && exit 7"))
    last = follow(mcp, start(mcp, request)["taskId"])[-1]
    assert (last["status"], last["result"]["isError"]) == ("completed", True)
    assert "error" not in last
    assert "no such colour" in last["result"]["content"][0]["text"]
    assert "RunFailed" in last["statusMessage"]


def test_a_task_is_cancelled_with_an_empty_answer(mcp: Mcp, builds: Builds) -> None:
    task_id = start(mcp, builds.request(builds.dockerfile("RUN sleep 60")))["taskId"]
    for _ in range(2):  # whether it runs or has ended
        ack = mcp.result("tasks/cancel", {"taskId": task_id})
        assert set(ack) <= {"resultType", "_meta"}
        assert ack["resultType"] == "complete"
        last = follow(mcp, task_id)[-1]
        assert last["status"] == "cancelled"
        assert "result" not in last
    assert mcp.result("tasks/update", {"taskId": task_id, "inputResponses": {}})


def test_an_unknown_task_is_invalid_params(mcp: Mcp) -> None:
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        error = mcp.ask(method, {"taskId": "default.image-build.1-none"})["error"]
        assert error["code"] == -32602


def test_the_same_key_gives_the_same_task(mcp: Mcp, builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN sleep 5"), idempotency_key="k")
    first, again = start(mcp, request), start(mcp, request)
    assert first["taskId"] == again["taskId"]
    mcp.result("tasks/cancel", {"taskId": first["taskId"]})


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_who_does_not_declare_tasks_gets_none(
    served: Serving, builds: Builds, version: str
) -> None:
    plain = Mcp(served.address, version)
    answer = plain.tool("submitJob", **builds.request(builds.dockerfile("RUN sleep 30")))
    assert answer["created"] is True
    plain.tool("killJob", job_id=answer["job_id"])


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_every_call_to_another_replica_and_one_restarts_meanwhile(
    cluster: Cluster, builds: Builds, version: str, tmp_path: Path
) -> None:
    """What one replica began, another goes on with, and a restart is nobody's business."""
    capabilities = TASKS if version == MODERN else {}
    with ExitStack() as stack:

        def another() -> Mcp:
            one = stack.enter_context(serving(cluster, tmp_path))
            replicas.append(one)
            return Mcp(one.address, version, capabilities)

        replicas: list[Serving] = []
        clients = [another(), another()]
        turn = 0

        def call(do: Callable[[Mcp], dict[str, Any]]) -> dict[str, Any]:
            nonlocal turn
            turn += 1
            return do(clients[turn % 2])

        lines = "for i in $(seq 40); do echo line $i; sleep 0.1; done"
        request = builds.request(builds.dockerfile(f"RUN {lines}"))
        given = {"name": "submitJob", "arguments": request}
        submitted = call(lambda one: one.result("tools/call", given))
        job_id = submitted.get("taskId") or submitted["structuredContent"]["job_id"]
        seen: list[str] = []
        waited: dict[str, Any] = {"final": False, "cursor": None}
        while not waited["final"]:
            after = waited["cursor"]
            waited = call(
                lambda one, after=after: one.tool(  # type: ignore[misc]
                    "waitForJob", job_id=job_id, after=after, timeout=1, lines=200
                )
            )
            seen += waited["lines"]
            if version == MODERN:
                task = call(lambda one: one.result("tasks/get", {"taskId": job_id}))
                assert task["taskId"] == job_id
            if len(replicas) == 2 and "line 5" in json.dumps(seen):
                replicas[0].stop()
                clients[0] = another()
        assert waited["status"] == "SUCCEEDED"
        assert len(replicas) == 3
        # Every line once and in order, whoever read it.
        counted = [one for one in seen if one.startswith("[build] line ")]
        assert counted == [f"[build] line {number}" for number in range(1, 41)]
        failed = [one for one in replicas if "Traceback" in one.log]
        assert failed == []


def test_the_pack_runs_it_too(builds: Builds) -> None:
    """The controller that Nomad runs, with its own rights."""
    mcp = Mcp(builds.address, capabilities=TASKS)
    eventually("it answers", lambda: mcp.result("server/discover"))
    last = follow(mcp, start(mcp, builds.request(builds.dockerfile("RUN true")))["taskId"])[-1]
    assert (last["status"], last["result"].get("isError")) == ("completed", False)
