"""The documents that several operations share: fields that callers give, and parts of answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.job_config import Strict

JobId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        description="The id that submitJob returned, or a Nomad job ID (JOB/dispatch-SUFFIX).",
        examples=["default.image-build.1763864400-1a2b3c4d"],
    ),
]
Cursor = Annotated[
    str,
    Field(max_length=512, description="Position in the log, as an earlier answer gave it."),
]
Phase = Literal["build", "test", "publish"]


class Answer(BaseModel):
    """A document that callers get; more fields may come with later versions."""

    model_config = ConfigDict(extra="allow")


class OneJob(Strict):
    """A request about one build."""

    job_id: JobId


class Failure(Answer):
    """Why a build failed."""

    phase: str
    reason: str = Field(description="One word of the documented list.")
    message: str
    step: str | None = None
    dockerfile_line: int | None = None
    command: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    dockerfile_text: str | None = None
    excerpt: list[str] = []
    log_tail: list[str] = []
    hint: str = Field("", description="What to do next.")
    retryable: bool = Field(False, description="Whether the same request may succeed later.")
    fix_owner: str = Field("author", description="author, operator or transient.")


class PhaseTimes(Answer):
    """One phase: pending, running, succeeded, failed, skipped or killed."""

    status: str
    started_at: str | None = None
    finished_at: str | None = None
    duration_seconds: float | None = None


Object = dict[str, Any]
