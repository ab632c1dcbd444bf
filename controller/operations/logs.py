"""The operation that reads a build's log."""

from __future__ import annotations

from pydantic import Field

from controller import cursor
from controller.job_config import Strict
from controller.operations.documents import Answer, Cursor, JobId, Phase
from controller.operations.operation import Document, Effects, Operation, Progress
from controller.service import Service


class LogRequest(Strict):
    """Which lines of a build's log."""

    job_id: JobId
    phase: Phase | None = Field(None, description="Only this phase; absent: all.")
    tail: int | None = Field(
        None, ge=1, le=1_000_000, description="The last lines of each phase, at most so many."
    )
    after: Cursor | None = None


class Log(Answer):
    """Lines by phase; null for a phase that was not asked for."""

    job_id: str
    logs: dict[str, list[str] | None]
    truncated: list[str] = Field(description="Phases of which lines were left out.")
    cursor: str | None = Field(description="Where to go on: give it as `after`.")


async def _logs(service: Service, given: LogRequest, progress: Progress) -> Document:
    return await service.logs.answer(
        given.job_id,
        phase=given.phase,
        tail=given.tail,
        after=cursor.parse(given.after) if given.after else None,
    )


get_logs = Operation(
    name="getLogs",
    title="Log of a build",
    description="Log lines of a build by phase.",
    accepts=LogRequest,
    answers=Log,
    call=_logs,
    effects=Effects(read_only=True),
    scope="build:read",
)
