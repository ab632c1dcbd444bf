"""The operation that looks at a request without building."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from controller.errors import TooManyChecksError
from controller.job_config import JobConfig
from controller.operations.documents import Answer, Object
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service


class OneCheck(Answer):
    """What one check found."""

    name: str
    status: str = Field(description="passed, warning, failed or skipped.")
    message: str
    fix: str
    field: str
    line: int | None = Field(description="Line of the Dockerfile.")


class Checked(Answer):
    """Whether a build would begin well."""

    ok: bool = Field(description="Nothing failed, and everything was looked at.")
    checks: list[OneCheck]
    build_class: str | None
    commit: str | None = Field(description="What git_ref names now.")
    dockerfile: Object | None = Field(description="path, stages, base_images and lines.")


async def _check(service: Service, given: Any, context: Context) -> Document:
    return await service.check.run(given, context.progress, context.caller.name)


check_job = Operation(
    name="checkJob",
    title="Check a build without building",
    description="Look before you build: are the fields valid, does the ref exist, is the "
    "Dockerfile there and well formed, do the credential paths work, may the credential push, can "
    "a node run it. Nothing is built or published. Takes seconds. Next: mend what failed, then "
    "submitJob with the same fields.",
    accepts=JobConfig,
    answers=Checked,
    call=_check,
    effects=Effects(read_only=True, open_world=True),
    scope="build:write",
    refusals=(TooManyChecksError,),
    changes=lambda given: True,  # it uses credentials, which the audit shall tell
    takes_job_config=True,
)
