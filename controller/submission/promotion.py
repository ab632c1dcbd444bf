"""Gives an image that is published already further tags, or copies it; nothing is rebuilt.

The pack's job `image-promote` does it, with the credentials of phase publish. A promotion lives in
Nomad like a build, under an id of its own, so any replica answers for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.access.callers import ADMIN, Caller
from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.contract.job_id import from_nomad, parse
from controller.contract.json_schema import Problem
from controller.contract.results import failure
from controller.errors import (
    InvalidFieldsError,
    MalformedRequestError,
    NotFoundError,
    NotPublishedError,
    UnknownBuildError,
)
from controller.settings import Settings
from controller.status.build import Build, Status
from controller.status.builds import Builds
from controller.submission.one_off import OneOff, OneOffState

JOB, TASK = "image-promote", "promote"
_CREDENTIALS = ("registry_credentials_path", "destination_credentials_path")
_SENT = ("owner", "image", "digest", "tags", "destination", *_CREDENTIALS)
Tell = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be promoted: a build's image, or an image by its digest; to which tags."""

    tags: tuple[str, ...]
    job_id: str | None = None
    image: str | None = None
    digest: str | None = None
    destination: str | None = None
    registry_credentials_path: str | None = None
    destination_credentials_path: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None


class Promotions:
    """Starts promotions and says where they are."""

    def __init__(
        self,
        settings: Settings,
        one_off: OneOff,
        builds: Builds,
        credentials: CredentialPaths,
        rules: OwnerRules,
    ) -> None:
        self._namespace = settings.namespace
        self._parent = f"{settings.name_prefix}{JOB}"
        self._one_off = one_off
        self._builds = builds
        self._credentials = credentials
        self._rules = rules

    async def begin(self, wish: Wish) -> str:
        """Start a promotion; its id. A repeat with the same idempotency_key gives the same one.

        Raises InvalidFieldsError, UnknownBuildError, NotPublishedError, IdempotencyConflictError.
        """
        document = await self._document(wish)
        if protected := self._rules.protected(document.get("owner", ""), wish.tags):
            document["protected_tags"] = protected
        problems = self._rules.problems(document)
        # Who may not use a path shall not learn whether there is a secret.
        closed = {problem.field for problem in problems}
        given = {
            name: document[name] for name in _CREDENTIALS if name in document and name not in closed
        }
        if problems := [*problems, *await self._credentials.problems(given)]:
            raise InvalidFieldsError(problems)
        token = _token(document.get("owner", ""), wish.idempotency_key)
        child, _ = await self._one_off.start(JOB, document, token=token)
        return from_nomad(self._namespace, child).job_id

    def forbidden(self, wish: Wish) -> list[Problem]:
        """What the owner may not use of the fields that were given."""
        return self._rules.problems({name: getattr(wish, name) for name in _SENT})

    async def state(self, promotion_id: str, caller: Caller, *, within: float) -> dict[str, Any]:
        """The answer of promoteImage, once it is over or after `within` seconds.

        Raises UnknownBuildError, MalformedRequestError.
        """
        try:
            child = parse(promotion_id, default_namespace=self._namespace)
        except ValueError as error:
            raise MalformedRequestError(str(error).replace("job_id", "promotion_id")) from error
        unknown = UnknownBuildError(
            f"there is no promotion {promotion_id}", "Nomad does not know it (any more)"
        )
        if (child.namespace, child.parent) != (self._namespace, self._parent):
            raise unknown
        try:
            document = await self._one_off.document(child.nomad_job_id)
            if not (caller.may(ADMIN) or caller.may_touch(document.get("owner"))):
                raise unknown
            state = await self._one_off.wait(child.nomad_job_id, [TASK], within=within)
        except NotFoundError as error:
            raise unknown from error
        return {"promotion_id": child.job_id, **_shown(document, state)}

    async def _document(self, wish: Wish) -> dict[str, Any]:
        found = {name: getattr(wish, name) for name in _SENT}
        if wish.job_id is not None:
            build = await self._builds.get(wish.job_id)
            found |= _of_build(build, wish)
        return {name: value for name, value in found.items() if value}


def _of_build(build: Build, wish: Wish) -> dict[str, Any]:
    if build.status is not Status.SUCCEEDED:
        raise NotPublishedError(build.job_id, str(build.status))
    config = build.config or {}
    return {
        "image": build.image,
        "digest": build.digest,
        "owner": wish.owner or config.get("owner"),
        "registry_credentials_path": wish.registry_credentials_path
        or config.get("registry_credentials_path"),
    }


def _shown(document: Mapping[str, Any], state: OneOffState) -> dict[str, Any]:
    result = state.results.get(TASK) or {}
    failed = result.get("failure")
    if state.over and not result:
        failed = failure("promote", "NodeLost", f"the promotion left no result: {state.message}")
    status = "RUNNING" if not state.over else "FAILED" if failed else "SUCCEEDED"
    return {
        "status": status,
        "image": document.get("destination") or document.get("image"),
        "digest": document.get("digest"),
        "references": result.get("references") or [],
        "failure": failed,
        "message": state.message if status == "RUNNING" else "",
    }


def check(wish: Wish) -> list[Problem]:
    """What is wrong with the fields of a wish taken together."""
    fix = "give job_id, or image and digest"
    if wish.job_id is not None:
        return [
            Problem(name, "is given together with job_id", fix)
            for name in ("image", "digest")
            if getattr(wish, name) is not None
        ]
    return [
        Problem(name, "is missing", fix)
        for name in ("image", "digest")
        if getattr(wish, name) is None
    ]


def _token(owner: str, key: str | None) -> str | None:
    if key is None:
        return None
    return hashlib.sha256(f"promote\0{owner}\0{key}".encode()).hexdigest()
