"""What Nomad's task events say where the runner could not: drivers, memory, signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.contract.results import failure

Json = Mapping[str, Any]
# Nomad's event types for a task that it could not bring to run.
_START_FAILURES = (
    "Driver Failure",
    "Setup Failure",
    "Failed Validation",
    "Failed Artifact Download",
    "Task hook failed",
)


def exit_code(state: Json) -> int | None:
    """The exit code of a task that has ended, or None."""
    ended = _last(state, "Terminated")
    return int(ended["ExitCode"]) if ended else None


def waiting(allocation: Json, task: str) -> str:
    """The last thing that Nomad said about a task that has not started."""
    events = ((allocation.get("TaskStates") or {}).get(task) or {}).get("Events") or []
    said = str(events[-1].get("DisplayMessage") or "") if events else ""
    return f"placed on {allocation.get('NodeName')}; {said or 'the client has not started it yet'}"


def failure_of(task: str, state: Json) -> dict[str, Any] | None:
    """The failure of a task that never ran, or died without a word of its own; else None."""
    phase = task if task in ("build", "test", "publish") else "publish"
    for event in reversed(state.get("Events") or []):
        if event["Type"] in _START_FAILURES:
            said = event.get("DisplayMessage") or event.get("DriverError") or event["Type"]
            return failure(phase, "TaskStartFailed", f"task {task}: {said}")
    ended = _last(state, "Terminated")
    if ended is None:
        return None
    details = ended.get("Details") or {}
    if details.get("oom_killed") == "true" or ended.get("OOMKilled"):
        return failure(
            phase,
            "OutOfMemory",
            f"task {task} was killed for lack of memory",
            exit_code=int(ended["ExitCode"]),
        )
    # Exit code 1 is the runner's own, with a result that says why.
    if int(ended["ExitCode"]) not in (0, 1) and not _last(state, "Killing"):
        signal = details.get("signal")
        how = f"signal {signal}" if signal not in (None, "0", "") else f"code {ended['ExitCode']}"
        return failure(
            phase,
            "InternalError",
            f"task {task} ended with {how} before it could report",
            exit_code=int(ended["ExitCode"]),
        )
    return None


def _last(state: Json, kind: str) -> Json | None:
    events = state.get("Events") or []
    return next((event for event in reversed(events) if event["Type"] == kind), None)
