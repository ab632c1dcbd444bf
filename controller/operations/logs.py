"""The operation that reads a build's log."""

from __future__ import annotations

from pydantic import Field

from controller import cursor
from controller.errors import UnknownBuildError
from controller.job_config import Strict
from controller.logs.lines import Wanted
from controller.operations.documents import Answer, Cursor, JobId, Phase
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service


class LogRequest(Strict):
    """Which lines of a build's log. By default the newest ones that fit."""

    job_id: JobId
    phase: Phase | None = Field(None, description="Only this phase; absent: all.")
    test: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Only the output of this test command, by its number from 1, once it is over.",
    )
    tail: int | None = Field(
        None, ge=1, le=1_000_000, description="At most so many last lines of each phase."
    )
    after: Cursor | None = None
    from_start: bool = Field(False, description="Read from the beginning, oldest lines first.")
    search: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        description="Only lines that match this RE2 expression, numbered.",
        examples=["(?i)error|fatal"],
    )
    context: int = Field(2, ge=0, le=20, description="Lines shown around each match.")
    max_tokens: int | None = Field(
        None, ge=100, le=100_000, description="About how long the answer may be."
    )


class Log(Answer):
    """Lines by phase; null for a phase that was not asked for."""

    job_id: str
    status: str
    logs: dict[str, list[str] | None]
    truncated: list[str] = Field(description="Phases of which lines were left out.")
    more: bool = Field(description="Whether to call again with `after` for more.")
    matches: int | None = Field(description="How many lines match, shown or not.")
    cursor: str | None = Field(description="Where to go on: give it as `after`.")
    note: str = Field(description="How to get what was left out.")


async def _logs(service: Service, given: LogRequest, context: Context) -> Document:
    return await service.logs.answer(
        given.job_id,
        Wanted(
            phase=given.phase,
            test=given.test,
            tail=given.tail,
            after=cursor.parse(given.after) if given.after else None,
            from_start=given.from_start,
            search=given.search,
            context=given.context,
            max_tokens=given.max_tokens,
        ),
    )


get_logs = Operation(
    name="getLogs",
    title="Log of a build",
    description="Log lines of a build by phase: the newest that fit; from the beginning with "
    "from_start; from a cursor with after; or those that match search, with line numbers. "
    "For why a build failed ask getFailure first: it is shorter.",
    accepts=LogRequest,
    answers=Log,
    call=_logs,
    effects=Effects(read_only=True),
    scope="build:read",
    refusals=(UnknownBuildError,),
    tool_defaults={"max_tokens": 4000},
)
