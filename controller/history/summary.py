"""What a list of ended builds needs of each: a few hundred bytes beside the record. No I/O.

Summaries are kept by day of submission, `nomad-build-service/index/YYYY-MM-DD/JOB_ID`, because that
is the order of a list and never changes: a page of it stays right while builds end.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from controller.contract import image_index
from controller.status.build import Build, seconds_between

PREFIX = "nomad-build-service/index/"
_MESSAGE = 160  # characters
_SCHEMA = 1
_NO_DAY = "1970-01-01"


@dataclass(frozen=True, slots=True)
class Summary:
    """An ended build in a list. Times are RFC 3339 in UTC."""

    job_id: str
    status: str
    owner: str = ""
    repo_url: str = ""
    git_ref: str = ""
    created_at: str = ""
    finished_at: str = ""
    commit: str | None = None
    image: str | None = None
    digest: str | None = None
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    intermediate: bool = False
    rerun_of: str | None = None
    part: bool = False

    @property
    def key(self) -> str:
        """Where it is kept."""
        return key(day_of(self.created_at), self.job_id)

    @property
    def duration_seconds(self) -> float | None:
        """From submission to the end."""
        if not (self.created_at and self.finished_at):
            return None
        return round(seconds_between(self.created_at, self.finished_at), 3)

    def shown(self) -> dict[str, Any]:
        """As in a list: without what is not known."""
        fields = {name: value for name, value in asdict(self).items() if value}
        if self.duration_seconds is not None:
            fields["duration_seconds"] = self.duration_seconds
        return fields


def of(build: Build) -> Summary:
    """The summary of a build."""
    config, failure = build.config or {}, build.failure or {}
    message = str(failure.get("message") or build.message or "")
    return Summary(
        job_id=build.job_id,
        status=str(build.status),
        owner=str(config.get("owner") or ""),
        repo_url=str(config.get("repo_url") or ""),
        git_ref=str(config.get("git_ref") or ""),
        created_at=build.submitted_at or "",
        finished_at=build.finished_at or "",
        commit=build.commit,
        image=build.image,
        digest=build.digest,
        phase=failure.get("phase"),
        reason=failure.get("reason"),
        rerun_of=build.rerun_of,
        part=image_index.is_part(build.config),
        intermediate=bool((build.intermediate or {}).get("digest")),
        message=(f"{message[: _MESSAGE - 1]}…" if len(message) > _MESSAGE else message) or None,
    )


def key(day: str, job_id: str) -> str:
    """Where the summary of a build that was submitted on a day is kept."""
    return f"{PREFIX}{day}/{job_id}"


def day_of(created_at: str) -> str:
    """The partition of a build that was submitted then."""
    return created_at[:10] or _NO_DAY


def encode(summary: Summary) -> bytes:
    """A summary as it is kept."""
    fields = {name: value for name, value in asdict(summary).items() if value and name != "job_id"}
    return json.dumps(
        {"schema": _SCHEMA, **fields}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def decode(job_id: str, raw: bytes) -> Summary:
    """Read what `encode` wrote; fields of later versions are left out."""
    known = Summary.__slots__
    given: dict[str, Any] = json.loads(raw)
    fields = {name: value for name, value in given.items() if name in known}
    return Summary(**(fields | {"job_id": job_id}))
