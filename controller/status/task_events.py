"""What Nomad's task events say where the runner could not: drivers, memory, signals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.contract.results import failure

Json = Mapping[str, Any]
# https://github.com/hashicorp/nomad: client/allocrunner/taskrunner/template, the event 'Missing: …'
_MISSING = re.compile(r"^Missing: (?P<what>.*vault\.\w+\(.*)")
# Nomad's event types for a task that it could not bring to run.
_START_FAILURES = (
    "Driver Failure",
    "Setup Failure",
    "Failed Validation",
    "Failed Artifact Download",
    "Task hook failed",
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A task that cannot start for want of `what`; times are Nomad's, in nanoseconds."""

    what: str
    since: int
    killed: int | None

    @property
    def words(self) -> str:
        """Why, as far as Nomad tells."""
        return (
            f"waits for {self.what}: Vault has no such secret, refuses it to the task's role, or "
            "does not answer"
        )

    def longer_than(self, seconds: float, now: int | None = None) -> bool:
        """Whether it waited so long until it was killed, or until `now`."""
        end = self.killed or now
        return end is not None and end - self.since >= seconds * 1e9


def exit_code(state: Json) -> int | None:
    """The exit code of a task that has ended, or None."""
    ended = _last(state, "Terminated")
    return int(ended["ExitCode"]) if ended else None


def blocked(state: Json) -> Blocked | None:
    """What a task of the operator's own making waits for: a `template` with a secret in it.

    Our own tasks have none; they ask Vault themselves and learn at once why it refuses. Nomad tells
    no more than what is missing, and tries again for minutes.
    """
    if not _never_started(state):
        return None
    since: int | None = None
    for event in state.get("Events") or []:
        missing = _MISSING.search(str(event.get("DisplayMessage") or ""))
        if missing:
            since, what = since or int(event["Time"]), missing["what"]
        elif event["Type"] == "Killing" and since:
            return Blocked(what, since, int(event["Time"]))
    return Blocked(what, since, None) if since else None


def _never_started(state: Json) -> bool:
    started = state.get("StartedAt")
    return not started or str(started).startswith("0001-")


def waiting(allocation: Json, task: str) -> str:
    """The last thing that Nomad said about a task that has not started."""
    state = (allocation.get("TaskStates") or {}).get(task) or {}
    if found := blocked(state):
        return f"task {task} on {allocation.get('NodeName')} {found.words}"
    events = state.get("Events") or []
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
