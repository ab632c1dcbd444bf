"""Real builds over MCP by hand: progress, hanging up, resources, prompts, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from builds import Builds, eventually
from controllers import Serving, serving
from mcp_requests import LEGACY, MODERN, Mcp

from cluster.cluster import Cluster


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    with serving(cluster, tmp_path_factory.mktemp("controller")) as one:
        yield one


@pytest.fixture(params=[MODERN, LEGACY])
def mcp(served: Serving, request: pytest.FixtureRequest) -> Mcp:
    return Mcp(served.address, request.param)


@pytest.fixture
def modern(served: Serving) -> Mcp:
    return Mcp(served.address)


@pytest.fixture
def slow(builds: Builds) -> dict[str, Any]:
    """A build that says something every 0.2 s for six seconds."""
    steps = "for i in $(seq 30); do echo line $i; sleep 0.2; done"
    return builds.request(builds.dockerfile(f"RUN {steps}"))


def test_progress_is_told_to_who_wants_it(mcp: Mcp, slow: dict[str, Any]) -> None:
    job_id = mcp.tool("submitJob", **slow)["job_id"]
    began = time.monotonic()
    given = {"job_id": job_id, "timeout": 45}
    with mcp.stream("waitForJob", given, "token-1") as stream:
        told = list(stream)
    seconds = time.monotonic() - began
    *notifications, answer = told
    assert answer["result"]["structuredContent"]["final"]
    assert {one["method"] for one in notifications} == {"notifications/progress"}
    steps = [one["params"] for one in notifications]
    assert {step["progressToken"] for step in steps} == {"token-1"}
    done = [step["progress"] for step in steps]
    assert done == sorted(set(done))
    assert 3 <= len(done) <= 2 * seconds + 1
    assert any(step["message"].startswith("build: ") for step in steps)


def test_nobody_is_told_who_did_not_ask(mcp: Mcp, slow: dict[str, Any]) -> None:
    job_id = mcp.tool("submitJob", **slow)["job_id"]
    with mcp.stream("waitForJob", {"job_id": job_id, "timeout": 3}, None) as stream:
        [answer] = list(stream)
    assert answer["result"]["structuredContent"]["final"] is False
    mcp.tool("killJob", job_id=job_id)


@pytest.mark.slow
def test_hanging_up_ends_the_wait_and_not_the_build(
    mcp: Mcp, slow: dict[str, Any], served: Serving, builds: Builds
) -> None:
    job_id = mcp.tool("submitJob", **slow)["job_id"]
    with mcp.stream("waitForJob", {"job_id": job_id, "timeout": 45}, "t") as stream:
        next(stream)
        assert served.metric("log_stream_watchers") == 1
    eventually("nobody waits", lambda: served.metric("log_stream_watchers") == 0, 5)
    assert builds.await_status(job_id, "SUCCEEDED")["status"] == "SUCCEEDED"


@pytest.mark.slow
@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_a_replica_that_stops_answers_first(
    cluster: Cluster, slow: dict[str, Any], builds: Builds, tmp_path: Path, version: str
) -> None:
    with serving(cluster, tmp_path) as stopping:
        mcp = Mcp(stopping.address, version)
        job_id = mcp.tool("submitJob", **slow)["job_id"]
        with mcp.stream("waitForJob", {"job_id": job_id, "timeout": 45}, "t") as stream:
            next(stream)
            stopping.process.terminate()
            *_, answer = stream
        assert answer["result"]["structuredContent"]["final"] is False
        assert "waitForJob" in answer["result"]["structuredContent"]["next"]
        assert stopping.process.wait(10) == 0
        assert "Traceback" not in stopping.log
    assert builds.await_status(job_id, "SUCCEEDED")


def test_answers_are_what_the_tools_say_that_they_are(mcp: Mcp, builds: Builds) -> None:
    schemas = {tool["name"]: tool["outputSchema"] for tool in mcp.result("tools/list")["tools"]}

    def call(name: str, **given: Any) -> dict[str, Any]:
        result = mcp.result("tools/call", {"name": name, "arguments": given})
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        jsonschema.validate(result["structuredContent"], schemas[name])
        found: dict[str, Any] = result["structuredContent"]
        return found

    request = builds.request(builds.dockerfile("RUN echo hello"))
    checked = call("checkJob", job_config=request)
    assert checked["ok"], checked
    assert call("checkJob", **request)["checks"] == checked["checks"]
    job_id = call("submitJob", **request)["job_id"]
    while not call("waitForJob", job_id=job_id)["final"]:
        pass
    assert call("getStatus", job_id=job_id)["status"] == "SUCCEEDED"
    assert call("getFailure", job_id=job_id)["failed"] is False
    promoted = call("promoteImage", job_id=job_id, tags=["stable"])
    assert (promoted["status"], builds.digest(request, "stable")) == (
        "SUCCEEDED",
        promoted["digest"],
    )
    assert "hello" in json.dumps(call("getLogs", job_id=job_id, search="hello"))
    assert call("killJob", job_id=job_id)["success"] is False
    assert job_id in json.dumps(call("getHistory"))
    assert call("cleanup", job_id=job_id, dry_run=True)["dry_run"] is True


def test_an_unknown_build_leads_to_the_list_of_builds(mcp: Mcp) -> None:
    given = {"name": "getStatus", "arguments": {"job_id": "default.image-build.1-none"}}
    result = mcp.result("tools/call", given)
    error = json.loads(result["content"][0]["text"])
    assert (result["isError"], error["name"], error["status"]) == (True, "unknown_job", 404)
    assert "getHistory" in error["next"]
    read = mcp.ask("resources/read", {"uri": "build://default.image-build.1-none"})
    assert read["error"]["code"] == -32602
    assert "getHistory" in read["error"]["data"]["next"]


def test_a_build_as_resources(mcp: Mcp, builds: Builds) -> None:
    tested = builds.request(builds.dockerfile("RUN echo built"), test_commands=["echo tested"])
    job_id = mcp.tool("submitJob", **tested)["job_id"]
    builds.await_status(job_id, "SUCCEEDED")

    def read(uri: str) -> tuple[str, str]:
        [content] = mcp.result("resources/read", {"uri": uri})["contents"]
        assert content["uri"] == uri
        return content["mimeType"], content["text"]

    status = json.loads(read(f"build://{job_id}")[1])
    assert (status["job_id"], status["status"]) == (job_id, "SUCCEEDED")
    mime, log = read(f"build://{job_id}/log")
    assert mime == "text/plain"
    assert log.index("==> build") < log.index("built") < log.index("==> test")
    assert "tested" in read(f"build://{job_id}/log/test")[1]
    assert "STEP" not in read(f"build://{job_id}/log/test")[1]
    outcome = json.loads(read(f"build://{job_id}/outcome")[1])
    assert (outcome["final"], outcome["digest"]) == (True, status["digest"])

    listed = mcp.result("resources/list")["resources"]
    assert 0 < len(listed) <= 50
    [ours] = [one for one in listed if one["name"] == job_id]
    assert ours["uri"] == f"build://{job_id}"
    assert tested["repo_url"] in ours["title"]

    def complete(reference: dict[str, str], value: str) -> list[str]:
        params = {"ref": reference, "argument": {"name": "job_id", "value": value}}
        values: list[str] = mcp.result("completion/complete", params)["completion"]["values"]
        return values

    template = {"type": "ref/resource", "uri": "build://{job_id}/log"}
    assert complete(template, job_id[:-4]) == [job_id]
    # It did not fail, so nobody is offered to mend it.
    assert complete({"type": "ref/prompt", "name": "fix_failed_build"}, job_id) == []


def test_the_prompt_to_mend_a_build_holds_its_failure(mcp: Mcp, builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo no such colour >&2 && exit 7"))
    job_id = mcp.tool("submitJob", **request)["job_id"]
    builds.await_status(job_id, "FAILED")
    params = {"ref": {"type": "ref/prompt", "name": "fix_failed_build"}}
    params["argument"] = {"name": "job_id", "value": job_id[:-2]}
    assert mcp.result("completion/complete", params)["completion"]["values"] == [job_id]
    given = {"name": "fix_failed_build", "arguments": {"job_id": job_id}}
    steps, failure = mcp.result("prompts/get", given)["messages"]
    assert job_id in steps["content"]["text"]
    embedded = failure["content"]["resource"]
    assert embedded["uri"] == f"build://{job_id}/outcome"
    assert "no such colour" in embedded["text"]


def test_repeating_a_submission_gives_the_same_build(mcp: Mcp, slow: dict[str, Any]) -> None:
    request = slow | {"idempotency_key": f"key-{time.monotonic_ns()}"}
    first = mcp.tool("submitJob", **request)
    again = mcp.tool("submitJob", job_config=request)
    assert (first["created"], again["created"]) == (True, False)
    assert first["job_id"] == again["job_id"]
    mcp.tool("killJob", job_id=first["job_id"])


def test_final_builds_may_be_kept_longer_than_running_ones(
    modern: Mcp, slow: dict[str, Any], builds: Builds
) -> None:
    job_id = modern.tool("submitJob", **slow)["job_id"]
    live = modern.result("resources/read", {"uri": f"build://{job_id}"})
    modern.tool("killJob", job_id=job_id)
    builds.await_status(job_id, "CANCELLED")
    final = modern.result("resources/read", {"uri": f"build://{job_id}"})
    assert live["ttlMs"] < final["ttlMs"]
    assert live["cacheScope"] == final["cacheScope"] == "private"
