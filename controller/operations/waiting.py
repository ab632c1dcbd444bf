"""Operations for whoever waits for a build, and for whoever has to mend it."""

from __future__ import annotations

from pydantic import Field

from controller import cursor
from controller.errors import UnknownBuildError
from controller.job_config import Strict
from controller.logs.lines import Wanted
from controller.operations.documents import Answer, Cursor, JobId, OneJob
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service
from controller.status import failure_view

_ERROR_TOKENS = 800  # of lines that look like errors


class Wait(Strict):
    """How long to wait for a build, and how much of its log to show."""

    job_id: JobId
    timeout: int = Field(30, ge=0, le=45, description="Seconds to wait at most; 0: look only.")
    after: Cursor | None = None
    lines: int = Field(20, ge=0, le=200, description="Newest log lines to show.")


class Waited(Answer):
    """Where a build is after waiting."""

    job_id: str
    status: str
    final: bool = Field(description="Whether the build is over.")
    message: str = Field(description="What it waits for, where it waits.")
    phases: dict[str, str]
    step: str | None = Field(description="The Dockerfile's step that runs now.")
    lines: list[str] = Field(description="New log lines, each with its phase.")
    lines_left_out: bool
    cursor: str | None = Field(description="Give it as `after` to the next call.")
    commit: str | None
    image: str | None
    digest: str | None
    references: list[str]
    error: str | None
    next: str = Field(description="What to do now.")


class Diagnosis(Answer):
    """Why a build failed, and what to do. Without a failure only the first and the last fields."""

    job_id: str
    status: str
    failed: bool
    message: str
    phase: str = ""
    reason: str = Field("", description="One word of the documented list.")
    step: str | None = None
    dockerfile: str | None = None
    dockerfile_line: int | None = None
    dockerfile_text: str | None = Field(None, description="The instruction as it is written.")
    command: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    fix_owner: str = Field("", description="author, operator or transient.")
    retryable: bool = False
    hint: str = ""
    excerpt: list[str] = Field([], description="Output around the first errors of the step.")
    error_lines: list[str] = Field([], description="LINE:TEXT that looks like an error.")
    log_tail: list[str] = Field([], description="The last lines of the failed phase.")
    repo_url: str | None = None
    git_ref: str | None = None
    commit: str | None = None
    documentation: str = ""
    next: str


async def _wait(service: Service, given: Wait, context: Context) -> Document:
    return await service.waiting.wait(
        given.job_id,
        after=cursor.parse(given.after) if given.after else None,
        seconds=given.timeout,
        lines=given.lines,
        tell=context.progress,
    )


async def _failure(service: Service, given: OneJob, context: Context) -> Document:
    build = await service.builds.get(given.job_id)
    if build.failure is None or build.failure["phase"] not in build.phases:
        return failure_view.view(build)
    found = await service.logs.answer(
        build.failed_in,
        Wanted(phase=build.failure["phase"], search=failure_view.ERRORS, max_tokens=_ERROR_TOKENS),
    )
    return failure_view.view(build, found["logs"][build.failure["phase"]] or [])


wait_for_job = Operation(
    name="waitForJob",
    title="Wait for a build",
    description="Wait until a build is over, at most `timeout` seconds, and get what is new: "
    "status, present step, newest log lines, and `next`. Not final yet: call it again with the "
    "cursor as `after`. Better than asking getStatus again and again.",
    accepts=Wait,
    answers=Waited,
    call=_wait,
    effects=Effects(read_only=True),
    scope="build:read",
    refusals=(UnknownBuildError,),
)
get_failure = Operation(
    name="getFailure",
    title="Why a build failed",
    description="Everything needed to mend a failed build in one short answer: reason, message, "
    "the Dockerfile's line, command and exit code, lines that look like errors, who should mend "
    "it, whether to retry, and what to do next. Ask it before reading logs.",
    accepts=OneJob,
    answers=Diagnosis,
    call=_failure,
    effects=Effects(read_only=True),
    scope="build:read",
    refusals=(UnknownBuildError,),
)
