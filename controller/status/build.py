"""A build as callers see it: status, phases with their times, failure, and what was published."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.contract.results import PHASES
from controller.status import intermediate

_NANOSECONDS = 1_000_000_000


class Status(StrEnum):
    """Where a build is. The last three are final."""

    PENDING = "PENDING"
    BUILDING = "BUILDING"
    TESTING = "TESTING"
    PUBLISHING = "PUBLISHING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether the build is over."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class PhaseView:
    """One phase: pending, running, succeeded, failed, skipped or killed; times RFC 3339 in UTC."""

    status: str = "pending"
    started_at: str | None = None
    finished_at: str | None = None
    duration_seconds: float | None = None

    def shown(self) -> dict[str, Any]:
        """As in an answer."""
        return {name: getattr(self, name) for name in self.__slots__}


def _pending() -> dict[str, PhaseView]:
    return {phase: PhaseView() for phase in PHASES}


@dataclass(frozen=True, slots=True)
class Build:
    """One build at one moment. `message` says in words what it waits for, where it waits."""

    job_id: str
    nomad_job_id: str
    status: Status
    submitted_at: str | None = None
    finished_at: str | None = None
    config: dict[str, Any] | None = None
    alloc_id: str | None = None
    node: str | None = None
    phases: dict[str, PhaseView] = field(default_factory=_pending)
    failure: dict[str, Any] | None = None
    message: str = ""
    queue_position: int | None = None
    commit: str | None = None
    patch: dict[str, Any] | None = None
    image: str | None = None
    digest: str | None = None
    references: tuple[str, ...] = ()
    tags: tuple[dict[str, Any], ...] = ()
    referrers: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    cache: dict[str, Any] | None = None
    commands: tuple[dict[str, Any], ...] = ()
    intermediate: dict[str, Any] | None = None
    platform_jobs: tuple[dict[str, Any], ...] = ()

    @property
    def rerun_of(self) -> str | None:
        """The build whose image it tests or publishes again, if it is a rerun."""
        rerun = (self.config or {}).get("rerun") or {}
        return rerun.get("job_id")

    @property
    def lost_parts(self) -> bool:
        """Whether a build of one of its architectures has failed or was stopped."""
        return any(one["status"] in (Status.FAILED, Status.CANCELLED) for one in self.platform_jobs)

    @property
    def failed_in(self) -> str:
        """Whose phase failed: itself, or the build of one of its architectures.

        A failure is what a file says that a build could write: it may name nobody else.
        """
        named = (self.failure or {}).get("job_id")
        known = [str(one["job_id"]) for one in self.platform_jobs]
        return known[known.index(named)] if named in known else self.job_id

    @property
    def error(self) -> str | None:
        """The failure in one line, as the original's field `error`."""
        if self.failure is None:
            return None
        return f"{self.failure['phase']}: {self.failure['reason']}: {self.failure['message']}"

    @property
    def duration_seconds(self) -> float | None:
        """From submission to the end, where both are known."""
        if not (self.submitted_at and self.finished_at):
            return None
        return seconds_between(self.submitted_at, self.finished_at)

    def shown(self) -> dict[str, Any]:
        """The answer of getStatus: the original's shape, widened."""
        answer: dict[str, Any] = {
            "job_id": self.job_id,
            "status": str(self.status),
            "config": self.config,
            "metrics": self._metrics(),
            "nomad_job_id": self.nomad_job_id,
            "alloc_id": self.alloc_id,
            "node": self.node,
            "submitted_at": self.submitted_at,
            "finished_at": self.finished_at,
            "phases": {phase: view.shown() for phase, view in self.phases.items()},
            "commit": self.commit,
            "patch": self.patch,
            "image": self.image,
            "digest": self.digest,
            "references": list(self.references),
            "tags": list(self.tags),
            "referrers": list(self.referrers),
            "steps": list(self.steps),
            "cache": self.cache,
            "commands": list(self.commands),
            "intermediate": intermediate.shown(self.intermediate),
            "rerun_of": self.rerun_of,
            "platform_jobs": list(self.platform_jobs),
            "failure": self.failure,
        }
        if self.message:
            answer["message"] = self.message
        if self.queue_position:
            answer["queue_position"] = self.queue_position
        if self.error:
            answer["error"] = self.error
        return answer

    def _metrics(self) -> dict[str, Any]:
        """The original's times: RFC 3339, durations in whole nanoseconds; absent where unknown."""
        times: dict[str, Any] = {"job_start": self.submitted_at, "job_end": self.finished_at}
        for phase, view in self.phases.items():
            times[f"{phase}_start"] = view.started_at
            times[f"{phase}_end"] = view.finished_at
            if view.duration_seconds is not None:
                times[f"{phase}_duration"] = round(view.duration_seconds * _NANOSECONDS)
        if self.duration_seconds is not None:
            times["total_duration"] = round(self.duration_seconds * _NANOSECONDS)
        return {name: value for name, value in times.items() if value is not None}


def from_record(record: dict[str, Any]) -> Build:
    """The build that `Build.shown` described, as the history keeps it."""
    return Build(
        job_id=record["job_id"],
        nomad_job_id=record["nomad_job_id"],
        status=Status(record["status"]),
        submitted_at=record["submitted_at"],
        finished_at=record["finished_at"],
        config=record["config"],
        alloc_id=record["alloc_id"],
        node=record["node"],
        phases={phase: PhaseView(**view) for phase, view in record["phases"].items()},
        failure=record["failure"],
        message=record.get("message", ""),
        commit=record["commit"],
        patch=record.get("patch"),
        image=record["image"],
        digest=record["digest"],
        references=tuple(record["references"]),
        tags=tuple(record.get("tags") or ()),
        referrers=tuple(record.get("referrers") or ()),
        steps=tuple(record["steps"]),
        cache=record["cache"],
        commands=tuple(record["commands"]),
        intermediate=record.get("intermediate"),
        platform_jobs=tuple(record.get("platform_jobs") or ()),
    )


def seconds_between(start: str, end: str) -> float:
    """Seconds between two RFC 3339 times; never negative (two machines' clocks may differ)."""
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
