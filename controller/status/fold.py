"""From what Nomad and the runner say to one Build. No I/O: the same input gives the same Build.

Nomad's words and ours are kept apart. `ClientStatus` never decides alone: an allocation says
`failed` while its last task still cleans up, and `complete` for one that was stopped. What decides:

1. The newest allocation without a successor.
2. The outcome that task `finish` wrote, if that task is dead and exited with 0.
3. Where there is none and there will be none: the job's stop, the node's loss, what the tasks'
   events say, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from controller.contract.log_line import utc
from controller.contract.results import PHASES, failure
from controller.status import placement, task_events
from controller.status.build import Build, PhaseView, Status, seconds_between

FINISH = "finish"
_RUNNING = {"build": Status.BUILDING, "test": Status.TESTING, "publish": Status.PUBLISHING}
_TERMINAL_CLIENT = ("complete", "failed", "lost")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one build. Jobs, allocations and evaluations are as Nomad's API gives them.

    `results` and `outcome` are parsed by `contract.results`, of the deciding allocation only.
    """

    job_id: str
    job: Json
    config: dict[str, Any] | None = None
    allocations: Sequence[Json] = ()
    evaluations: Sequence[Json] = ()
    queue: Sequence[Json] = ()  # blocked evaluations of all builds
    results: Mapping[str, Json] = field(default_factory=dict)
    secret_wait: float = 120.0
    outcome: Json | None = None


def deciding_allocation(allocations: Sequence[Json]) -> Json | None:
    """The newest allocation without a successor, or None."""
    last = [one for one in allocations if not one.get("NextAllocation")]
    return max(last or allocations, key=lambda one: int(one["CreateIndex"]), default=None)


def is_over(allocation: Json) -> bool:
    """Whether no task of the allocation will run any more."""
    if allocation["ClientStatus"] == "lost":
        return True
    finish = task_state(allocation, FINISH)
    if finish.get("State") == "dead":
        return True
    states = (allocation.get("TaskStates") or {}).values()
    return allocation["ClientStatus"] in _TERMINAL_CLIENT and all(
        state.get("State") == "dead" for state in states
    )


def outcome_counts(allocation: Json) -> bool:
    """Whether an outcome found in the allocation was written by a `finish` that ended well."""
    finish = task_state(allocation, FINISH)
    return (
        finish.get("State") == "dead"
        and not finish.get("Failed")
        and task_events.exit_code(finish) == 0
    )


def may_be_placed_again(allocation: Json, outcome: Json | None) -> bool:
    """Whether Nomad may still replace an allocation that is over: its evaluations say whether."""
    if outcome is not None and outcome["status"] != "KILLED":
        return False
    return (
        is_over(allocation)
        and not _drained(allocation)
        and (allocation["ClientStatus"] == "lost" or allocation.get("DesiredStatus") == "stop")
    )


def _drained(allocation: Json) -> bool:
    """Nomad stops batch jobs on a drained node without a replacement, and says so here."""
    transition = allocation.get("DesiredTransition") or {}
    return bool(transition.get("Migrate") and transition.get("MigrateDisablePlacement"))


def task_state(allocation: Json, task: str) -> Json:
    """The state of a task; empty before the client has seen it."""
    return (allocation.get("TaskStates") or {}).get(task) or {}


def fold(facts: Facts) -> Build:
    """The build that these facts describe."""
    allocation = deciding_allocation(facts.allocations)
    common = {
        "job_id": facts.job_id,
        "nomad_job_id": facts.job["ID"],
        "config": facts.config,
        "submitted_at": _nomad_time(facts.job.get("SubmitTime")),
    }
    if allocation is None:
        return _without_allocation(facts, common)
    common |= {"alloc_id": allocation["ID"], "node": allocation.get("NodeName")}
    if not is_over(allocation):
        return _running(facts, allocation, common)
    return _over(facts, allocation, common)


def _without_allocation(facts: Facts, common: dict[str, Any]) -> Build:
    if facts.job.get("Stop") and not placement.waits(facts.evaluations):
        return Build(
            **common,
            status=Status.CANCELLED,
            message="stopped before it was placed",
            finished_at=_last_change(facts.evaluations) or common["submitted_at"],
        )
    return Build(**common, status=Status.PENDING, **_queued(facts))


def _queued(facts: Facts) -> dict[str, Any]:
    place = placement.position(facts.evaluations, facts.queue)
    words = placement.words(facts.evaluations, facts.job, place)
    return {"message": words, "queue_position": place}


def _running(facts: Facts, allocation: Json, common: dict[str, Any]) -> Build:
    phases = {phase: _phase(facts, allocation, phase) for phase in PHASES}
    current = next(
        (phase for phase in PHASES if phases[phase].status in ("pending", "running")), PHASES[-1]
    )
    started = any(state.get("StartedAt") for state in (allocation.get("TaskStates") or {}).values())
    status = _RUNNING[current] if started else Status.PENDING
    message = "" if started else task_events.waiting(allocation, current)
    if any(phases[phase].status in ("failed", "killed") for phase in PHASES):
        message = "the build has ended and cleans up"
        status = _RUNNING[next(p for p in PHASES if phases[p].status in ("failed", "killed"))]
    elif started and task_events.blocked(task_state(allocation, current)):
        message = task_events.waiting(allocation, current)
    if facts.job.get("Stop"):
        message = "the build was stopped and cleans up"
    if allocation["ClientStatus"] == "unknown":
        message = "the node is disconnected; the build may still run there"
    return Build(**common, status=status, phases=phases, message=message, **_result_fields(facts))


def _over(facts: Facts, allocation: Json, common: dict[str, Any]) -> Build:
    outcome, stopped = facts.outcome, bool(facts.job.get("Stop"))
    phases = {phase: _phase(facts, allocation, phase) for phase in PHASES}
    fields = _result_fields(facts)
    finished = (outcome or {}).get("finished_at") or _nomad_time(allocation.get("ModifyTime"))
    if (
        may_be_placed_again(allocation, outcome)
        and not stopped
        and placement.waits(facts.evaluations)
    ):
        why = "the node was lost" if allocation["ClientStatus"] == "lost" else "stopped on its node"
        waiting = _queued(facts)
        waiting["message"] = f"{why}; {waiting['message']}"
        return Build(**common, status=Status.PENDING, **waiting)
    failed: Json | None = None
    if outcome is not None and outcome["status"] == "SUCCEEDED":
        status = Status.SUCCEEDED
        # Results could be planted; how a task ended, Nomad itself has seen.
        if bad := next((one for one in PHASES if task_state(allocation, one).get("Failed")), None):
            status, failed = Status.FAILED, _tampered(bad)
    elif outcome is not None and outcome["status"] == "FAILED":
        status, failed = Status.FAILED, outcome["failure"]
    elif refused := _secret_refused(facts, allocation):
        status, failed = Status.FAILED, refused
    elif stopped:
        status, failed = Status.CANCELLED, None
    else:
        status, failed = Status.FAILED, _why(facts, allocation)
    return Build(
        **common,
        status=status,
        phases=phases,
        finished_at=finished,
        failure=dict(failed) if failed else None,
        **fields,
    )


def _secret_refused(facts: Facts, allocation: Json) -> Json | None:
    """The failure of a build that was ended because a task could not have a secret."""
    for phase in PHASES:
        found = task_events.blocked(task_state(allocation, phase))
        if found and found.longer_than(facts.secret_wait):
            return failure(phase, "SecretRefused", f"task {phase} {found.words}")
    return None


def _tampered(phase: str) -> Json:
    return failure(phase, "TamperedResult", f"task {phase} failed, but its result says otherwise")


def _why(facts: Facts, allocation: Json) -> Json:
    """The failure of a build that ended without one of its own, and was not stopped as a job."""
    phase = next((name for name in PHASES if name not in facts.results), PHASES[-1])
    if allocation["ClientStatus"] == "lost":
        return failure(phase, "NodeLost", f"node {allocation.get('NodeName')} was lost")
    if _drained(allocation):
        return failure(phase, "NodeDrained", f"node {allocation.get('NodeName')} was drained")
    for name in (*PHASES, FINISH):
        if found := task_events.failure_of(name, task_state(allocation, name)):
            return found
    for result in facts.results.values():
        if result.get("failure"):
            return dict(result["failure"])
    if facts.outcome is not None and facts.outcome.get("failure"):
        return dict(facts.outcome["failure"])
    if allocation.get("DesiredStatus") in ("stop", "evict"):
        said = allocation.get("DesiredDescription") or "the allocation was stopped"
        return failure(phase, "Killed", f"{said} (by an operator or by Nomad)")
    return failure(
        phase,
        "InternalError",
        "task finish left no outcome; its events and stderr in Nomad say more",
    )


def _phase(facts: Facts, allocation: Json, phase: str) -> PhaseView:
    reported = (facts.outcome or {}).get("phases", {}).get(phase) or facts.results.get(phase)
    if reported:
        return PhaseView(
            str(reported["status"]),
            reported.get("started_at"),
            reported.get("finished_at"),
            reported.get("duration_seconds"),
        )
    state = task_state(allocation, phase)
    started, finished = _time(state.get("StartedAt")), _time(state.get("FinishedAt"))
    if phase == "test":  # its task starts with the build's and waits; the phase begins later
        before = task_state(allocation, "build")
        started = _time(before.get("FinishedAt")) if started and not before.get("Failed") else None
    if not started:
        return PhaseView("skipped" if is_over(allocation) else "pending")
    if not finished:
        return PhaseView("running", started)
    # The runner died before it could write a result.
    return PhaseView(
        "failed" if state.get("Failed") else "killed",
        started,
        finished,
        round(seconds_between(started, finished), 3),
    )


def _result_fields(facts: Facts) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for source in (*(facts.results.get(phase) or {} for phase in PHASES), facts.outcome or {}):
        merged |= {name: value for name, value in source.items() if value is not None}
    return {
        "commit": merged.get("commit"),
        "patch": merged.get("patch"),
        "image": merged.get("image"),
        "digest": merged.get("digest"),
        "references": tuple(merged.get("references") or ()),
        "tags": tuple(merged.get("tags") or ()),
        "referrers": tuple(merged.get("referrers") or ()),
        "steps": tuple(merged.get("steps") or ()),
        "cache": merged.get("cache"),
        "commands": tuple(merged.get("commands") or ()),
        "intermediate": merged.get("intermediate"),
    }


def _time(text: str | None) -> str | None:
    """Nomad's time of a task state; Go's zero time means none."""
    if not text or text.startswith("0001-"):
        return None
    return utc(datetime.fromisoformat(text))


def _nomad_time(nanoseconds: int | None) -> str | None:
    return utc(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds else None


def _last_change(evaluations: Sequence[Json]) -> str | None:
    return _nomad_time(max((int(one.get("ModifyTime") or 0) for one in evaluations), default=0))
