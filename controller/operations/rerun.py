"""The operation that tests or publishes the image of an earlier build again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from controller.errors import (
    IdempotencyConflictError,
    NotRepeatableError,
    RequestTooLargeError,
    TooManyBuildsError,
    UnknownBuildError,
)
from controller.job_config import Kind
from controller.operations.documents import Answer, OneJob
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service


class Rerun(OneJob):
    """Which build, and where to begin."""

    phase: Literal["test", "publish"] = Field(
        examples=["test"],
        description="test: test the image and, if that succeeds, publish it. publish: publish it.",
    )
    idempotency_key: Annotated[str, Kind("idempotency-key", 255)] | None = Field(
        None, description="The same key of the same owner returns the same rerun."
    )


class Restarted(Answer):
    """The rerun: a build with a job_id of its own."""

    job_id: str
    rerun_of: str
    status: str
    created: bool = Field(description="False where idempotency_key named an earlier rerun.")


async def _rerun(service: Service, given: Any, context: Context) -> Document:
    found = await service.reruns.begin(given.job_id, given.phase, given.idempotency_key)
    build = await service.builds.get(found.job_id)
    return {
        "job_id": found.job_id,
        "rerun_of": build.rerun_of or given.job_id,
        "status": str(build.status),
        "created": found.created,
    }


rerun_phase = Operation(
    name="rerunPhase",
    title="Test or publish again",
    description="Test or publish the image of an ended build again; nothing is rebuilt. For a test "
    "that fails now and then, or a registry that was down. It needs the image: kept by "
    "keep_intermediate or after a failure, or published. Returns a new job_id. Next: waitForJob.",
    accepts=Rerun,
    answers=Restarted,
    call=_rerun,
    effects=Effects(read_only=False, idempotent=False, open_world=True),
    scope="build:write",
    refusals=(
        UnknownBuildError,
        NotRepeatableError,
        IdempotencyConflictError,
        RequestTooLargeError,
        TooManyBuildsError,
    ),
    facts=lambda given, answer: {
        "rerun": answer["job_id"],
        "phase": given.phase,
        "created": answer["created"],
    },
)
