"""From a request to a dispatched job, and a build's stop: validate, check, dispatch.

The controller adds nothing to a build: the document goes to Nomad as payload, and the same document
dispatched by hand gives the same build.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from controller import build_class, single_flight, split_request
from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.access.room import Room
from controller.build import Build, Status
from controller.builds import Builds
from controller.clients.nomad import NomadClient
from controller.contract import image_index, payload, request
from controller.contract.build_secrets import vault_paths
from controller.contract.job_id import from_nomad
from controller.errors import (
    IdempotencyConflictError,
    InvalidFieldsError,
    NotFoundError,
    RequestTooLargeError,
    ServiceError,
    UnknownBuildError,
)
from controller.metrics import Metrics
from controller.recent import Recent
from controller.settings import BuildClass, Settings
from controller.webhook_addresses import parse_allowed
from controller.webhooks import acceptance

_LONGEST_CHAIN = 64  # ended builds of an equal request; then a build of its own
log = logging.getLogger(__name__)
T = TypeVar("T")
Choose = Callable[[Mapping[str, BuildClass], Mapping[str, Any]], T]


@dataclass(frozen=True, slots=True)
class Submission:
    """A build that answers a request: made for it, or found by its key, or joined as it runs.

    `platform_jobs` are all of its builds, where there is one for each architecture.
    """

    job_id: str
    created: bool
    joined: bool = False
    platform_jobs: tuple[dict[str, Any], ...] = ()


class Dispatch:
    """Starts and stops builds."""

    def __init__(
        self,
        settings: Settings,
        nomad: NomadClient,
        credentials: CredentialPaths,
        rules: OwnerRules,
        room: Room,
        builds: Builds,
        metrics: Metrics,
    ) -> None:
        self._parents = settings.parent_jobs
        self._namespace = settings.namespace
        self._allowed = parse_allowed(settings.webhook_allow)
        self._nomad = nomad
        self._credentials = credentials
        self._rules = rules
        self._room = room
        self._builds = builds
        self._metrics = metrics
        self._tokens: Recent[str] = Recent()

    async def submit(self, given: Any) -> Submission:
        """Dispatch a build, or find the one that there is.

        Raises InvalidFieldsError, RequestTooLargeError, TooManyBuildsError,
        IdempotencyConflictError and what the dependencies raise.
        """
        try:
            document = request.normalise(given)
        except request.RequestError as error:
            forbidden = self._rules.problems(error.valid)
            raise InvalidFieldsError([*error.problems, *forbidden]) from error
        packed = _encode(document)  # too large is too large, whatever else is wrong
        first, *others = await self._admit(document, build_class.by_architecture)
        if others:
            return await self._submit_parts(document, first, others)
        token = single_flight.token_of(document)
        if token is None:
            return await self._submit_one(first[0], document, packed, _token(document))
        child, new = await self._join_or_dispatch(first[0], document, packed, token)
        return self._submission(child, document, new=new, joined=not new)

    async def again(self, document: dict[str, Any], token: str | None) -> Submission:
        """Dispatch the request of an earlier build with what `controller.rerun` added to it.

        Raises as `submit` does.
        """
        packed = _encode(document)
        parent = await self._admit(image_index.own(document), build_class.choose)
        return await self._submit_one(parent, document, packed, token)

    async def _submit_one(
        self, parent: str, document: dict[str, Any], packed: bytes, token: str | None
    ) -> Submission:
        child, new = await self._dispatch(parent, document, packed, token)
        if not new:
            await self._check_same(child, packed)
        return self._submission(child, document, new=new)

    async def _submit_parts(
        self,
        document: dict[str, Any],
        first: tuple[str, list[str]],
        others: list[tuple[str, list[str]]],
    ) -> Submission:
        """Dispatch a build for each architecture, or none: the first one last, with their ids."""
        token = _token(document)
        index, done = split_request.index_id(token), list[tuple[Submission, list[str]]]()
        try:
            for parent, platforms in others:
                part = split_request.part(document, index, platforms)
                part_token = split_request.part_token(token, platforms)
                one = await self._submit_one(parent, part, _encode(part), part_token)
                done.append((one, platforms))
            jobs = [
                {"job_id": one.job_id, "platforms": platforms, "status": "PENDING"}
                for one, platforms in done
            ]
            answers = split_request.first(document, index, first[1], jobs)
            found = await self._submit_one(first[0], answers, _encode(answers), token)
        except BaseException:
            await asyncio.shield(self._withdraw([one.job_id for one, _ in done if one.created]))
            raise
        own = {"job_id": found.job_id, "platforms": first[1], "status": "PENDING"}
        return replace(found, platform_jobs=(own, *jobs))

    async def _withdraw(self, job_ids: list[str]) -> None:
        """Stop builds that nobody will be told of."""
        for job_id in job_ids:
            try:
                await self._stop(job_id)
            except ServiceError as error:
                log.warning("build %s is left to itself: %s", job_id, error.message)

    def _submission(
        self, child: str, document: dict[str, Any], *, new: bool, joined: bool = False
    ) -> Submission:
        job_id = from_nomad(self._namespace, child).job_id
        if new:
            self._metrics.submitted.inc()
        log.info("Build job submitted to Nomad: %s owner=%s new=%s", job_id, document["owner"], new)
        return Submission(job_id, created=new, joined=joined)

    async def _dispatch(
        self, parent: str, document: dict[str, Any], packed: bytes, token: str | None
    ) -> tuple[str, bool]:
        async with self._room.for_build(document["owner"], parent, token):
            try:
                return await self._nomad.dispatch(
                    parent, packed, token=token, priority=document["priority"]
                )
            except ServiceError as error:
                self._metrics.dispatch_errors.labels(error.name).inc()
                raise

    async def _join_or_dispatch(
        self, parent: str, document: dict[str, Any], packed: bytes, first: str
    ) -> tuple[str, bool]:
        """The child of an equal request that has not ended, or a new one."""
        token = self._tokens.get(first) or first
        for _ in range(_LONGEST_CHAIN):
            child, new = await self._dispatch(parent, document, packed, token)
            if new or not await self._ended(child):
                self._tokens.put(first, token)
                return child, new
            token = single_flight.next_token(token, child)
        return await self._dispatch(parent, document, packed, None)

    async def _ended(self, child: str) -> bool:
        try:
            job = await self._nomad.job(child)
        except NotFoundError:
            return True
        return bool(job.get("Stop")) or job["Status"] == "dead"

    async def kill(self, job_id: str) -> tuple[bool, str]:
        """Stop a build wherever it is; whether it was stopped now, and a sentence."""
        build = await self._builds.get(job_id)
        if build.status is Status.CANCELLED:
            return True, "the build was killed before"
        if build.status.final:
            return False, f"the build has ended already: {build.status}"
        if not await self._stop(build.job_id):
            raise UnknownBuildError(
                f"there is no build {job_id} any more", "Nomad has forgotten it"
            )
        await self.stop_others(build)
        return True, "Job killed by user; what it holds is cleaned up now"

    async def stop_others(self, build: Build) -> None:
        """Stop the builds of the other architectures, which nobody wants without this one."""
        for one in build.platform_jobs:
            if one["job_id"] != build.job_id and not Status(one["status"]).final:
                await self._stop(one["job_id"])

    async def _stop(self, job_id: str) -> bool:
        child = self._builds.parse(job_id)
        try:
            await self._nomad.stop(child.nomad_job_id, child.namespace)
        except NotFoundError:
            return False
        log.info("Build job stopped: %s", job_id)
        return True

    async def _admit(self, document: dict[str, Any], choose: Choose[T]) -> T:
        """What `choose` finds among the build classes.

        Raises InvalidFieldsError with everything that speaks against the request.
        """
        problems, chosen = self._rules.problems(document), None
        try:
            chosen = choose(self._parents, document)
        except InvalidFieldsError as error:
            problems += error.problems
        problems += acceptance.problems(document, self._allowed)
        # Who may not use a path shall not learn whether there is a secret.
        closed = {problem.field for problem in problems}
        problems += await self._credentials.problems(
            {field: path for field, path in vault_paths(document) if field not in closed}
        )
        if problems or chosen is None:
            raise InvalidFieldsError(problems)
        return chosen

    async def _check_same(self, child: str, packed: bytes) -> None:
        """Nomad answered with an earlier child: it must be of the same request."""
        earlier = await self._nomad.job(child)
        if payload.of_job(earlier) != packed:
            raise IdempotencyConflictError(
                "idempotency_key was used before for another request",
                f"build {from_nomad(self._namespace, child).job_id} has it: use a new key",
            )


def _encode(document: dict[str, Any]) -> bytes:
    try:
        return request.encode(document)
    except payload.PayloadTooLargeError as error:
        raise RequestTooLargeError(
            str(error),
            "push the patch to a branch and build that"
            if document["patch"]
            else "shorten test commands, build_args and labels: keep scripts in the repository",
        ) from error


def _token(document: dict[str, Any]) -> str | None:
    key = document["idempotency_key"]
    if key is None:
        return None
    return hashlib.sha256(f"{document['owner']}\0{key}".encode()).hexdigest()
