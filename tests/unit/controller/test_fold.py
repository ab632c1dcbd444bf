"""Folding: from Nomad's words and the runner's files to one status. No I/O."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract.results import PHASES, failure
from controller.status.build import Build, Status, from_record
from controller.status.fold import Facts, deciding_allocation, fold, is_over, outcome_counts

T0, T1, T2 = "2026-11-23T02:00:00Z", "2026-11-23T02:00:03.5Z", "2026-11-23T02:00:05Z"
DIGEST = "sha256:" + "a" * 64


def task(
    state: str = "pending",
    *,
    failed: bool = False,
    code: int | None = None,
    events: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    said = list(events or [])
    if code is not None:
        said.append({"Type": "Terminated", "ExitCode": code, "Details": {}})
    return {
        "State": state,
        "Failed": failed,
        "Events": said,
        "StartedAt": None if state == "pending" else T0,
        "FinishedAt": T1 if state == "dead" else "0001-01-01T00:00:00Z",
    }


def alloc(client: str = "running", **tasks: dict[str, Any]) -> dict[str, Any]:
    return {
        "ID": "a1",
        "CreateIndex": 1,
        "ClientStatus": client,
        "DesiredStatus": "run",
        "NodeName": "n1",
        "NextAllocation": "",
        "ModifyTime": 1_795_403_233_000_000_000,
        "TaskStates": tasks,
    }


def job(**fields: Any) -> dict[str, Any]:
    return {
        "ID": "image-build/dispatch-1-a",
        "Stop": False,
        "SubmitTime": 1_795_403_231_000_000_000,
    } | fields


def outcome(status: str, **fields: Any) -> dict[str, Any]:
    return {"status": status, "finished_at": T2, "phases": {}, "failure": None} | fields


def folded(allocations: list[dict[str, Any]], **fields: Any) -> Build:
    facts = {"job_id": "default.image-build.1-a", "job": job(), "allocations": allocations}
    return fold(Facts(**(facts | fields)))


DONE, RUNS = task("dead", code=0), task("running")
ALL_DEAD = {"build": DONE, "test": DONE, "publish": DONE, "finish": DONE}


def test_nothing_placed_is_pending_with_the_reason() -> None:
    blocked = {
        "ID": "e2",
        "CreateIndex": 2,
        "Status": "blocked",
        "FailedTGAllocs": {
            "build": {
                "NodesEvaluated": 3,
                "DimensionExhausted": {"memory": 2},
                "ConstraintFiltered": {"${attr.cpu.arch} = arm64": 1},
            }
        },
    }
    build = folded([], evaluations=[blocked])
    assert build.status is Status.PENDING
    assert build.message == (
        "waits for a node: 2 of 3 nodes lack memory; "
        "1 of 3 nodes are ruled out by ${attr.cpu.arch} = arm64; place 1 in the queue of builds"
    )


def test_what_no_node_has_free_is_said_with_its_amount_and_the_place_in_the_queue() -> None:
    def waiting(number: int, priority: int = 50) -> dict[str, Any]:
        return {
            "ID": f"e{number}",
            "CreateIndex": number,
            "Status": "blocked",
            "Priority": priority,
            "FailedTGAllocs": {
                "build": {"NodesEvaluated": 2, "DimensionExhausted": {"memory": 2, "disk": 1}}
            },
        }

    tasks = [
        {"Lifecycle": {"Hook": "prestart"}, "Resources": {"CPU": 500, "MemoryMB": 4096}},
        {"Lifecycle": None, "Resources": {"CPU": 100, "MemoryMB": 128}},
    ]
    group = {"Tasks": tasks, "EphemeralDisk": {"SizeMB": 300}}
    build = folded(
        [],
        job=job() | {"TaskGroups": [group]},
        evaluations=[waiting(5)],
        queue=[waiting(3), waiting(5), waiting(6), waiting(9, priority=80)],
    )
    assert build.queue_position == 3
    assert build.message == (
        "waits for a node: no node has 4096 MB of memory free; "
        "1 of 2 nodes lack 300 MB of disk; place 3 in the queue of builds"
    )


def test_no_node_at_all_is_said() -> None:
    nothing = {
        "CreateIndex": 2,
        "Status": "complete",
        "FailedTGAllocs": {"build": {"NodesEvaluated": 0, "NodePool": "builders"}},
    }
    assert "no ready node of node pool builders" in folded([], evaluations=[nothing]).message


@pytest.mark.parametrize(
    ("tasks", "status", "running"),
    [
        ({}, Status.PENDING, None),
        ({"build": task(), "test": task()}, Status.PENDING, None),
        ({"build": RUNS, "test": RUNS}, Status.BUILDING, "build"),
        ({"build": DONE, "test": RUNS}, Status.TESTING, "test"),
        ({"build": DONE, "test": DONE, "publish": RUNS}, Status.PUBLISHING, "publish"),
        ({"build": DONE, "test": DONE, "publish": DONE, "finish": RUNS}, Status.PUBLISHING, None),
    ],
)
def test_a_running_build(tasks: dict[str, Any], status: Status, running: str | None) -> None:
    results = {
        phase: {"status": "succeeded"}
        for phase in PHASES
        if tasks.get(phase, {}).get("State") == "dead"
    }
    build = folded([alloc(**tasks)], results=results)
    assert build.status is status
    assert [phase for phase in PHASES if build.phases[phase].status == "running"] == (
        [running] if running else []
    )


def test_a_failed_phase_is_not_the_end_before_finish_is() -> None:
    results = {"build": {"status": "failed", "failure": failure("build", "RunFailed", "x")}}
    build = folded(
        [alloc("failed", build=task("dead", failed=True, code=1), finish=RUNS)], results=results
    )
    assert build.status is Status.BUILDING
    assert "cleans up" in build.message


def test_succeeded() -> None:
    phases = {
        phase: {"status": "succeeded", "started_at": T0, "finished_at": T1, "duration_seconds": 3.5}
        for phase in PHASES
    }
    build = folded(
        [alloc("complete", **ALL_DEAD)],
        outcome=outcome(
            "SUCCEEDED", phases=phases, commit="c" * 40, digest=DIGEST, references=["r/x:1"]
        ),
    )
    assert build.status is Status.SUCCEEDED
    shown = build.shown()
    assert shown["digest"] == DIGEST
    assert shown["metrics"]["build_duration"] == 3_500_000_000
    assert shown["failure"] is None
    assert "error" not in shown


def test_failed_carries_the_failure_and_the_originals_error_line() -> None:
    told = failure("test", "TestFailed", "exit 3", exit_code=3)
    build = folded([alloc("failed", **ALL_DEAD)], outcome=outcome("FAILED", failure=told))
    assert build.status is Status.FAILED
    assert build.shown()["failure"] == told
    assert build.shown()["error"] == "test: TestFailed: exit 3"


def killed() -> dict[str, Any]:
    return outcome("KILLED", failure=failure("build", "Killed", "the build was stopped"))


def test_cancelled_only_when_the_job_was_stopped() -> None:
    stopped = folded([alloc("complete", **ALL_DEAD)], job=job(Stop=True), outcome=killed())
    assert stopped.status is Status.CANCELLED
    assert stopped.failure is None
    other = folded([alloc("complete", **ALL_DEAD) | {"DesiredStatus": "stop"}], outcome=killed())
    assert other.status is Status.FAILED
    assert other.failure is not None
    assert other.failure["reason"] == "Killed"


def test_a_stop_after_the_end_does_not_rewrite_it() -> None:
    for status, wanted in (("SUCCEEDED", Status.SUCCEEDED), ("FAILED", Status.FAILED)):
        told = failure("build", "RunFailed", "x") if status == "FAILED" else None
        build = folded(
            [alloc("complete", **ALL_DEAD)],
            job=job(Stop=True),
            outcome=outcome(status, failure=told),
        )
        assert build.status is wanted


def test_a_stopped_pending_build_is_cancelled_once_nomad_gave_up_on_it() -> None:
    waiting = [{"CreateIndex": 1, "Status": "pending", "ModifyTime": 5}]
    assert folded([], job=job(Stop=True), evaluations=waiting).status is Status.PENDING
    over = [{"CreateIndex": 1, "Status": "canceled", "ModifyTime": 5_000_000_000}]
    build = folded([], job=job(Stop=True), evaluations=over)
    assert build.status is Status.CANCELLED
    assert build.finished_at == "1970-01-01T00:00:05.000Z"


def test_drained_and_lost() -> None:
    drained = folded(
        [
            alloc("complete", **ALL_DEAD)
            | {
                "DesiredStatus": "stop",
                "DesiredTransition": {"Migrate": True, "MigrateDisablePlacement": True},
            }
        ],
        outcome=killed(),
    )
    assert drained.failure is not None
    assert (drained.failure["reason"], drained.failure["retryable"]) == ("NodeDrained", True)
    lost = folded([alloc("lost", build=RUNS)])
    assert lost.failure is not None
    assert lost.failure["reason"] == "NodeLost"
    again = folded(
        [alloc("lost", build=RUNS)], evaluations=[{"CreateIndex": 1, "Status": "blocked"}]
    )
    assert again.status is Status.PENDING
    assert again.message.startswith("the node was lost")


def test_a_stopped_allocation_may_be_placed_again() -> None:
    """`nomad alloc stop` makes Nomad place the build once more."""
    stopped = alloc("complete", **ALL_DEAD) | {
        "DesiredStatus": "stop",
        "DesiredTransition": {"Migrate": True},
    }
    again = folded(
        [stopped], outcome=killed(), evaluations=[{"CreateIndex": 1, "Status": "blocked"}]
    )
    assert again.status is Status.PENDING
    assert again.message.startswith("stopped on its node")


def test_the_newest_allocation_without_a_successor_decides() -> None:
    old = alloc("lost", build=RUNS) | {"ID": "old", "NextAllocation": "a1"}
    new = alloc("running", build=RUNS) | {"CreateIndex": 9}
    assert deciding_allocation([new, old]) == new
    assert folded([old, new]).alloc_id == "a1"
    assert folded([old, new]).status is Status.BUILDING


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"Type": "Driver Failure", "DisplayMessage": "user build is unknown"}, "TaskStartFailed"),
        ({"Type": "Setup Failure", "DisplayMessage": "disk"}, "TaskStartFailed"),
        ({"Type": "Terminated", "ExitCode": 137, "Details": {"oom_killed": "true"}}, "OutOfMemory"),
        ({"Type": "Terminated", "ExitCode": 139, "Details": {"signal": "11"}}, "InternalError"),
    ],
)
def test_a_task_that_could_not_speak(event: dict[str, Any], reason: str) -> None:
    broken = task("dead", failed=True, events=[event])
    build = folded([alloc("failed", build=broken, finish=DONE)], outcome=killed())
    assert build.status is Status.FAILED
    assert build.failure is not None
    assert (build.failure["phase"], build.failure["reason"]) == ("build", reason)


def test_only_a_finish_that_ended_well_is_believed() -> None:
    assert outcome_counts(alloc("complete", finish=DONE))
    assert not outcome_counts(alloc("complete", finish=task("dead", failed=True, code=1)))
    assert not outcome_counts(alloc("complete", finish=RUNS))
    assert not outcome_counts(alloc("complete"))


states = st.builds(
    task,
    st.sampled_from(["pending", "running", "dead"]),
    failed=st.booleans(),
    code=st.sampled_from([None, 0, 1, 137]),
    events=st.lists(
        st.sampled_from([{"Type": "Driver Failure"}, {"Type": "Started"}, {"Type": "Killing"}]),
        max_size=2,
    ),
)
allocs = st.builds(
    lambda client, tasks, index, nxt: (
        alloc(client, **tasks) | {"CreateIndex": index, "NextAllocation": nxt}
    ),
    st.sampled_from(["pending", "running", "complete", "failed", "lost", "unknown"]),
    st.dictionaries(st.sampled_from([*PHASES, "finish"]), states),
    st.integers(1, 9),
    st.sampled_from(["", "a2"]),
)
outcomes = st.sampled_from(
    [
        None,
        killed(),
        outcome("SUCCEEDED"),
        outcome("FAILED", failure=failure("build", "RunFailed", "x")),
    ]
)


@given(st.lists(allocs, max_size=3), st.booleans(), outcomes)
def test_folding_always_answers_and_keeps_its_promises(
    allocations: list[dict[str, Any]], stop: bool, told: dict[str, Any] | None
) -> None:
    decides = deciding_allocation(allocations)
    told = told if decides and outcome_counts(decides) else None
    build = folded(allocations, job=job(Stop=stop), outcome=told)
    if decides is not None:
        assert build.status.final == is_over(decides)
    assert (build.failure is not None) == (build.status is Status.FAILED)
    if build.status is Status.CANCELLED:
        assert stop
    if build.status is Status.SUCCEEDED:
        assert told is not None
        assert told["status"] == "SUCCEEDED"
    assert from_record(build.shown()) == build


def test_success_does_not_count_where_a_task_failed() -> None:
    """Results are files that a build may have reached; how a task ended, Nomad has seen."""
    states = {name: dict(state) for name, state in ALL_DEAD.items()}
    states["test"]["Failed"] = True
    build = folded([alloc("failed", **states)], outcome=outcome("SUCCEEDED", digest=DIGEST))
    assert build.status is Status.FAILED
    assert build.failure is not None
    assert build.failure["reason"] == "TamperedResult"


@pytest.mark.parametrize(("waited", "status"), [(119, "CANCELLED"), (121, "FAILED")])
def test_a_task_whose_secret_vault_refuses(waited: int, status: str) -> None:
    said = "Missing: vault.read(secret/data/x)"
    missing = {"Type": "Template", "DisplayMessage": said, "Time": 10**18}
    killing = {"Type": "Killing", "DisplayMessage": "", "Time": 10**18 + waited * 10**9}
    build_task = {"State": "pending", "StartedAt": None, "Events": [missing]}
    waiting = folded([alloc("running", build=build_task)])
    assert "secret/data/x" in waiting.message
    states = {name: dict(state) for name, state in ALL_DEAD.items()}
    states["build"] = {"State": "dead", "StartedAt": None, "Events": [missing, killing]}
    stopped = {"ID": "image-build/dispatch-1-a", "Stop": True}
    build = fold(Facts(job_id="j", job=stopped, allocations=[alloc("failed", **states)]))
    assert build.status == status
    if build.failure:
        assert build.failure["reason"] == "SecretRefused"
