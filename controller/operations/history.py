"""Operations on many builds: list them, and remove what is left of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from controller.cleanup import Cleaned, Which
from controller.contract import moments
from controller.contract.json_schema import Problem
from controller.errors import InvalidFieldsError, UnknownBuildError
from controller.history.query import Query, position
from controller.job_config import Kind, Strict
from controller.operations.documents import Answer, JobId, Object
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service

_KEPT = 100  # builds that an answer of cleanup says to stay
_CHARACTERS = 3  # of JSON with ids and digests in it, a token
Owner = Annotated[str, Kind("owner", 128)]
Status = Literal["PENDING", "BUILDING", "TESTING", "PUBLISHING", "SUCCEEDED", "FAILED", "CANCELLED"]


class HistoryRequest(Strict):
    """Which builds to list, the newest first."""

    owner: Owner | None = Field(None, description="Only builds of this owner.")
    status: Status | None = Field(None, description="Only builds that are at this status now.")
    repo_url: Annotated[str, Kind("git-url", 2048)] | None = Field(
        None, description="Only builds of this repository, however its URL is written."
    )
    since: Annotated[str, Kind("since", 40)] | None = Field(
        None,
        examples=["7d"],
        description="Only builds submitted since then: RFC 3339, or how long ago (7d, 12h).",
    )
    limit: int = Field(50, ge=1, le=200, description="Most builds in the answer.")
    offset: int = Field(0, ge=0, description="Builds to pass over; for many pages use `after`.")
    after: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="`next` of the page before."
    )
    detail: Literal["full", "summary"] = Field(
        "full", description="full: with config and metrics; summary: without."
    )
    max_tokens: int | None = Field(
        None, ge=500, le=100_000, description="Rough size of the answer; it ends earlier then."
    )


class ListedBuild(Answer):
    """One build. `summary` leaves out what is not known, config and metrics."""

    job_id: str
    id: str | None = None
    status: str
    owner: str | None = None
    repo_url: str | None = None
    git_ref: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    duration: int | None = Field(None, description="Nanoseconds, as the original.")
    duration_seconds: float | None = None
    commit: str | None = None
    image: str | None = None
    digest: str | None = None
    phase: str | None = Field(None, description="The phase that failed.")
    reason: str | None = None
    message: str | None = None
    part: bool | None = Field(
        None,
        description="true: the build of one architecture, for which another of the same request "
        "answers.",
    )
    config: Object | None = None
    metrics: Object | None = None


class HistoryPage(Answer):
    """A page of builds."""

    jobs: list[ListedBuild]
    total: int = Field(description="Builds that match, on all pages together.")
    next: str | None = Field(description="Give it as `after` for the next page; null: the last.")


async def _history(service: Service, given: Any, context: Context) -> Document:
    if given.after is not None and given.offset:
        raise InvalidFieldsError(
            [Problem("offset", "is given together with after", "leave one of them out")]
        )
    query = Query(
        owner=given.owner,
        status=given.status,
        repo_url=given.repo_url,
        since=given.since and moments.resolve(given.since, datetime.now(UTC)),
        after=position(given.after) if given.after is not None else None,
        offset=given.offset,
        limit=given.limit,
    )
    listed = await service.history_list.page(query, full=given.detail == "full")
    rows, following = listed.rows, listed.next
    if given.max_tokens is not None:
        kept = _fitting(rows, given.max_tokens * _CHARACTERS)
        if kept < len(rows):
            rows, following = rows[:kept], listed.positions[kept - 1]
    return {
        "jobs": rows,
        "total": listed.total,
        "next": following.cursor() if following else None,
    }


def _fitting(rows: list[Document], characters: int) -> int:
    """How many rows fit; at least one, or nobody would ever get past it."""
    size = 0
    for number, row in enumerate(rows):
        size += len(json.dumps(row, ensure_ascii=False))
        if size > characters and number:
            return number
    return len(rows)


get_history = Operation(
    name="getHistory",
    title="List builds",
    description="Lists builds, newest first, running ones too: to find a lost job_id, or what an "
    "owner or a repository built lately. Filter by owner, status, repo_url, since; go on with "
    "after=next. For one build use getStatus, for why it failed getFailure.",
    accepts=HistoryRequest,
    answers=HistoryPage,
    call=_history,
    effects=Effects(read_only=True),
    scope="build:read",
    tool_defaults={"detail": "summary", "limit": 20, "max_tokens": 5000},
)


class CleanupRequest(Strict):
    """What to remove: exactly one of job_id, older_than and all."""

    job_id: JobId | None = None
    older_than: Annotated[int, Kind("age", 32, ("string", "integer"))] | None = Field(
        None, examples=["30d"], description="Builds that ended longer ago: 30d, 12h, seconds."
    )
    all: bool = Field(False, description="Every build that has ended.")
    owner: Owner | None = Field(None, description="Only builds of this owner.")
    limit: int = Field(1000, ge=1, le=1000, description="Most builds in one call, oldest first.")
    dry_run: bool = Field(False, description="Only say what would be removed.")


class Removed(Answer):
    """What was removed, or would be."""

    history: list[str] = Field(description="Records, by job_id.")
    logs: list[str] = Field(description="Logs on nodes, by Nomad's allocation ID.")
    images: list[str] = Field(description="Intermediate images, by reference.")


class Kept(Answer):
    """What stays of a build, and why."""

    job_id: str
    why: str


class CleanupDone(Answer):
    """What became of it."""

    success: bool = Field(description="False where something stays against the request.")
    cleaned_jobs: list[str] = Field(description="Builds of which nothing is left.")
    message: str
    dry_run: bool
    removed: Removed
    kept: list[Kept] = Field(description="At most a hundred; the message has their number.")
    remaining: int = Field(description="Builds beyond `limit`: call again.")


async def _cleanup(service: Service, given: Any, context: Context) -> Document:
    _check_which(given)
    if given.job_id is not None:
        done = await service.cleanup.one(
            given.job_id, dry_run=given.dry_run, by=context.caller.name
        )
    else:
        which = Which(older_than=given.older_than, owner=given.owner, limit=given.limit)
        done = await service.cleanup.many(which, dry_run=given.dry_run, by=context.caller.name)
    kept = (done.errors + [one for one in done.kept if one not in done.errors])[:_KEPT]
    return {
        "success": not done.errors,
        "cleaned_jobs": done.cleaned,
        "message": _sentence(done, dry_run=given.dry_run),
        "dry_run": given.dry_run,
        "removed": {"history": done.history, "logs": done.logs, "images": done.images},
        "kept": [{"job_id": job_id, "why": why} for job_id, why in kept],
        "remaining": done.remaining,
    }


def _check_which(given: Any) -> None:
    chosen = [
        name
        for name, is_given in (
            ("job_id", given.job_id is not None),
            ("older_than", given.older_than is not None),
            ("all", given.all),
        )
        if is_given
    ]
    fix = "give exactly one of job_id, older_than and all"
    if len(chosen) > 1:
        raise InvalidFieldsError(
            [Problem(name, f"is given together with {chosen[0]}", fix) for name in chosen[1:]]
        )
    if not chosen:
        raise InvalidFieldsError([Problem("request", "names no build to clean up", fix)])
    if given.owner is not None and given.job_id is not None:
        raise InvalidFieldsError(
            [Problem("owner", "is given together with job_id", "leave owner out")]
        )


def _sentence(done: Cleaned, *, dry_run: bool) -> str:
    verb = "would be removed" if dry_run else "removed"
    counts = f"{len(done.history)} records, {len(done.logs)} logs, {len(done.images)} images"
    sentence = f"{counts} {verb}, of {len(done.cleaned)} builds"
    if done.kept:
        sentence += f"; {len(done.kept)} kept: {done.kept[0][1]}"
    if done.remaining:
        sentence += f"; {done.remaining} builds remain: call again"
    return sentence


cleanup = Operation(
    name="cleanup",
    title="Clean up after builds",
    description="Removes the history record, the logs and the intermediate images of ended builds: "
    "one (job_id), by age (older_than), or all. Published images stay; running builds are kept. "
    "Try dry_run first: it removes nothing and names what would go. There is no undo.",
    accepts=CleanupRequest,
    answers=CleanupDone,
    call=_cleanup,
    effects=Effects(read_only=False, destructive=True),
    scope="build:write",
    refusals=(UnknownBuildError,),
    tool_defaults={"limit": 50},
    changes=lambda given: not given.dry_run,
    facts=lambda given, answer: {"removed": len(answer["cleaned_jobs"])},
)
