"""The operation that gives a published image further tags."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from controller.contract.json_schema import Problem
from controller.errors import (
    IdempotencyConflictError,
    InvalidFieldsError,
    NotPublishedError,
    UnknownBuildError,
)
from controller.job_config import Kind, Strict, VaultPath
from controller.operations.documents import Answer, Failure, JobId
from controller.operations.operation import Context, Document, Effects, Operation
from controller.service import Service
from controller.submission import promotion

Repository = Annotated[str, Kind("image-repository", 255)]


class Promotion(Strict):
    """Which image gets which tags."""

    job_id: JobId | None = Field(None, description="The build whose image it is.")
    image: Repository | None = Field(
        None, description="Repository of the image, instead of job_id; with digest."
    )
    digest: Annotated[str, Kind("digest", 80)] | None = Field(
        None, description="The image's digest, sha256:…; with image."
    )
    tags: list[Annotated[str, Kind("tag", 128)]] = Field(
        default=[], max_length=64, examples=[["stable"]], description="Tags to give it."
    )
    destination: Repository | None = Field(
        None, description="Repository to copy it to; absent: where it is."
    )
    registry_credentials_path: VaultPath | None = Field(
        None, description="Vault path to read it with; absent: the build's."
    )
    destination_credentials_path: VaultPath | None = Field(
        None, description="Vault path to push to destination with."
    )
    owner: Annotated[str, Kind("owner", 128)] | None = Field(
        None, description="On whose behalf; absent: the build's owner."
    )
    idempotency_key: Annotated[str, Kind("idempotency-key", 255)] | None = Field(
        None, description="The same key of the same owner names the same promotion."
    )
    promotion_id: str | None = Field(
        None, max_length=512, description="Ask where a promotion is, instead of starting one."
    )
    timeout: int = Field(30, ge=0, le=45, description="Seconds to wait for its end at most.")


class Promoted(Answer):
    """Where a promotion is."""

    promotion_id: str
    status: str = Field(description="RUNNING, SUCCEEDED or FAILED.")
    image: str | None
    digest: str | None
    references: list[str] = Field(description="The tags that it has given so far.")
    failure: Failure | None
    message: str = Field(description="What it waits for, while it runs.")


async def _promote(service: Service, given: Any, context: Context) -> Document:
    promotion_id = given.promotion_id
    if promotion_id is None:
        wish = promotion.Wish(
            tags=tuple(dict.fromkeys(given.tags)),
            **{name: getattr(given, name) for name in promotion.Wish.__slots__ if name != "tags"},
        )
        problems = promotion.check(wish)
        if not wish.tags:
            problems.append(Problem("tags", "is missing", 'give at least one, such as ["stable"]'))
        if problems:
            raise InvalidFieldsError(problems + service.promotions.forbidden(wish))
        promotion_id = await service.promotions.begin(wish)
        await context.progress(0, None, f"promotion {promotion_id} was dispatched")
    return await service.promotions.state(promotion_id, context.caller, within=float(given.timeout))


promote_image = Operation(
    name="promoteImage",
    title="Promote a published image",
    description="Give an image that a build published further tags, or copy it to another "
    "registry, by digest: nothing is built again. By job_id, or by image and digest. Still "
    "RUNNING after the timeout: call again with promotion_id.",
    accepts=Promotion,
    answers=Promoted,
    call=_promote,
    effects=Effects(read_only=False, destructive=True, open_world=True),
    scope="build:write",
    refusals=(UnknownBuildError, NotPublishedError, IdempotencyConflictError),
    changes=lambda given: given.promotion_id is None,
    facts=lambda given, answer: {
        "promotion_id": answer["promotion_id"],
        "image": answer["image"],
        "digest": answer["digest"],
    },
)
