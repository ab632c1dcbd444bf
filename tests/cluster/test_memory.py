"""Memory: what a class has is the kernel's limit, less of it by request the runner's."""

from __future__ import annotations

import os
from typing import Any

import pytest
from builds import Builds
from test_build_failures import check

# One process that has and keeps 400 MB, less than the class has in either phase.
TAKE = "dd if=/dev/zero of=/dev/null bs=400M count=100000"
PHASES = ("build", "test")


def taking(builds: Builds, phase: str, command: str, **limits: Any) -> dict[str, Any]:
    """A request that takes memory in a phase."""
    lines, tests = ("RUN true",), [command]
    if phase == "build":
        lines, tests = (f"RUN {command}",), []
    return builds.request(builds.dockerfile(*lines), test_commands=tests, resource_limits=limits)


@pytest.mark.parametrize("phase", PHASES)
def test_less_than_the_class_by_request(builds: Builds, phase: str) -> None:
    """By whoever the agent runs as: the runner adds up what the phase's processes have."""
    request = taking(builds, phase, TAKE, **{phase: {"memory": 256}})
    failure = check(builds, request, phase, "OutOfMemory")
    field = f"resource_limits.{phase}.memory"
    assert failure["message"].endswith(f"MB of memory were used, {field} is 256")
    assert int(failure["message"].split()[0]) > 256
    assert field in failure["hint"]
    if phase == "test":
        assert (failure["step"], failure["command"]) == ("test 1/1", TAKE)


@pytest.mark.slow
def test_memory_below_the_limit_is_no_concern(builds: Builds) -> None:
    """400 MB of 600, for long enough to be looked at often; the whole build's limit."""
    short = "timeout 3 dd if=/dev/zero of=/dev/null bs=400M count=100000 || true"
    request = builds.request(
        builds.dockerfile(f"RUN {short}"),
        test_commands=[short],
        resource_limits={"memory": 600},
    )
    builds.run(request, "SUCCEEDED")


@pytest.mark.slow
def test_every_test_has_the_memory_anew(builds: Builds) -> None:
    request = taking(builds, "test", TAKE, test={"memory": 256})
    del request["test_commands"]
    request["test"] = {"commands": [TAKE, "true"], "keep_going": True}
    status = builds.run(request, "FAILED")
    assert status["failure"]["reason"] == "OutOfMemory"
    assert [one["exit_code"] for one in status["commands"]] == [None, 0]


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's agent makes no cgroups")
@pytest.mark.parametrize(("phase", "limit"), [("build", 2048), ("test", 1024)])
def test_all_that_the_class_has(builds: Builds, phase: str, limit: int) -> None:
    """Phase test has half of what the class has."""
    failure = check(builds, taking(builds, phase, "tail /dev/zero"), phase, "OutOfMemory")
    assert "the kernel killed a process" in failure["message"]
    assert f"{limit} MB" in failure["message"]


def test_a_phase_gets_no_class_that_has_less_for_it(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"), resource_limits={"test": {"memory": 2048}}
    )
    answer = builds.http.post("/mcp/submitJob", json={"job_config": request})
    assert answer.status_code == 422, answer.text
    problem = answer.json()["problems"][0]
    assert problem["field"] == "resource_limits"
    assert problem["problem"] == "no build class has memory 2048 for phase test"
