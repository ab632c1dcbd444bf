"""Operations on one build: submit it, look at it, stop it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from controller.errors import (
    IdempotencyConflictError,
    RequestTooLargeError,
    TooManyBuildsError,
    UnknownBuildError,
)
from controller.job_config import JobConfig
from controller.operations.documents import Answer, Failure, Object, OneJob, PhaseTimes
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service


class Submitted(Answer):
    """A build that was dispatched, now or by an earlier call with the same idempotency_key."""

    job_id: str
    status: str
    created: bool = Field(
        True, description="False where idempotency_key named an earlier build, or it joined one."
    )
    joined: bool = Field(
        False, description="An equal request of a full commit runs already: this is its build."
    )
    platform_jobs: list[Object] = Field(
        [],
        description="The builds of each architecture, where there is one for each; job_id "
        "answers for all of them.",
    )


class BuildStatus(Answer):
    """Everything that is known about a build."""

    job_id: str
    status: str = Field(
        description="PENDING BUILDING TESTING PUBLISHING, or final: SUCCEEDED FAILED CANCELLED."
    )
    message: str = Field("", description="What it waits for, where it waits.")
    queue_position: int | None = Field(
        None, description="Its place among the builds that wait for a node, from 1."
    )
    error: str = Field("", description="The failure in one line.")
    failure: Failure | None = None
    image: str | None = None
    digest: str | None = None
    references: list[str] = Field(description="The tags that name the published digest.")
    tags: list[Object] = Field(
        description="What became of each tag: published, restored, removed, left, moved, unknown, "
        "untouched; and the digest that it names."
    )
    referrers: list[Object] = Field(
        description="What is attached to the image: provenance, SBOM, signature."
    )
    commit: str | None = None
    patch: Object | None = Field(None, description="What was applied on top of the commit.")
    submitted_at: str | None = None
    finished_at: str | None = None
    phases: dict[str, PhaseTimes]
    steps: list[Object]
    cache: Object | None = None
    commands: list[Object]
    intermediate: Object | None = Field(
        None, description="The image that was kept: reference, digest, pull; or the problem."
    )
    platform_jobs: list[Object] = Field(
        [], description="job_id, platforms and status of the build of each architecture."
    )
    rerun_of: str | None = Field(None, description="The build whose image it took, of rerunPhase.")
    config: Object | None = None
    metrics: Object = Field(description="The original's times; durations in nanoseconds.")
    webhook: Object | None = Field(
        None, description="state is pending, delivered or failed; tries; last_error."
    )
    nomad_job_id: str
    alloc_id: str | None = None
    node: str | None = None


class Killed(Answer):
    """What became of a request to stop a build."""

    job_id: str
    success: bool
    message: str


async def _submit(service: Service, given: Any, context: Context) -> Document:
    found = await service.dispatch.submit(given)
    now = None if found.created else await service.builds.get(found.job_id)
    return {
        "job_id": found.job_id,
        "status": str(now.status) if now else "PENDING",
        "created": found.created,
        "joined": found.joined,
        "platform_jobs": list((now or found).platform_jobs),
    }


async def _status(service: Service, given: OneJob, context: Context) -> Document:
    build = await service.builds.get(given.job_id)
    return {**build.shown(), "webhook": await service.deliveries.marks.state(build)}


async def _kill(service: Service, given: OneJob, context: Context) -> Document:
    success, message = await service.dispatch.kill(given.job_id)
    return {"job_id": given.job_id, "success": success, "message": message}


submit_job = Operation(
    name="submitJob",
    title="Submit a build",
    description="Build a Git repository's Dockerfile, test the image, publish it. Returns a job_id "
    "at once; the build goes on by itself. Next: waitForJob. Not sure about ref, Dockerfile or "
    "credentials: checkJob first. Repeat safely with the same idempotency_key; equal requests of a "
    "full commit share the build that runs.",
    accepts=JobConfig,
    answers=Submitted,
    call=_submit,
    effects=Effects(read_only=False, idempotent=False, open_world=True),
    scope="build:write",
    refusals=(IdempotencyConflictError, RequestTooLargeError, TooManyBuildsError),
    takes_job_config=True,
    facts=lambda given, answer: {
        "job_id": answer["job_id"],
        "created": answer["created"],
        "joined": answer["joined"],
    },
)
get_status = Operation(
    name="getStatus",
    title="Status of a build",
    description="Everything known about a build: status, phases, steps, image and digest, failure. "
    "To wait for the end use waitForJob; for why it failed, getFailure.",
    accepts=OneJob,
    answers=BuildStatus,
    call=_status,
    effects=Effects(read_only=True),
    scope="build:read",
    refusals=(UnknownBuildError,),
)
kill_job = Operation(
    name="killJob",
    title="Stop a build",
    description="Stop a queued or running build and clean up what it holds. A build that has "
    "ended stays as it is.",
    accepts=OneJob,
    answers=Killed,
    call=_kill,
    effects=Effects(read_only=False, destructive=True),
    scope="build:write",
    refusals=(UnknownBuildError,),
    facts=lambda given, answer: {"stopped": answer["success"]},
)
