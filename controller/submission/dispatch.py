"""From a request to a dispatched job, and a build's stop: validate, check, dispatch.

The controller adds nothing to a build: the document goes to Nomad as payload, and the same document
dispatched by hand gives the same build.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.access.room import Room
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
from controller.observability.metrics import Metrics
from controller.recent import Recent
from controller.settings import BuildClass, Settings
from controller.status.build import Build, Status
from controller.status.builds import Builds
from controller.submission import build_class, single_flight, split_request
from controller.webhook_addresses import parse_allowed
from controller.webhooks import acceptance

_LONGEST_CHAIN = 64  # ended builds of an equal request; then a build of its own
log = logging.getLogger(__name__)
T = TypeVar("T")
Classes = Sequence[tuple[str, list[str]]]  # Nomad's job IDs and the platforms made there
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
        classes = await self._admit(document, build_class.by_architecture)
        if (token := single_flight.token_of(document)) is None:
            return await self._submit(document, packed, classes, _token(document))
        return await self._join_or_submit(document, packed, classes, token)

    async def again(self, document: dict[str, Any], token: str | None) -> Submission:
        """Dispatch the request of an earlier build with what `submission.rerun` added to it.

        Raises as `submit` does.
        """
        packed = _encode(document)
        parent = await self._admit(image_index.own(document), build_class.choose)
        return await self._submit(document, packed, [(parent, [])], token)

    async def _join_or_submit(
        self, document: dict[str, Any], packed: bytes, classes: Classes, first: str
    ) -> Submission:
        """The build of an equal request that may still succeed, or a new one."""
        token = self._tokens.get(first) or first
        for _ in range(_LONGEST_CHAIN):
            found = await self._submit(document, packed, classes, token, equal=True)
            if found.created or await self._may_succeed(found):
                self._tokens.put(first, token)
                return replace(found, joined=not found.created)
            token = single_flight.next_token(token, found.job_id)
        return await self._submit(document, packed, classes, None)

    async def _submit(
        self,
        document: dict[str, Any],
        packed: bytes,
        classes: Classes,
        token: str | None,
        *,
        equal: bool = False,
    ) -> Submission:
        """Dispatch, or find the build of the token, made for the same request.

        `equal`: the token says itself that it is (`single_flight`; the priority may differ).
        """
        parents = [parent for parent, _ in classes]
        async with self._room.for_builds(document["owner"], parents, token):
            if len(classes) > 1:
                found = await self._dispatch_parts(document, classes, token)
            else:
                child, new = await self._dispatch(parents[0], document, packed, token)
                found = Submission(self._job_id(child), created=new)
        if found.created:
            self._metrics.submitted.inc()
        elif not equal:
            await self._check_same(found.job_id, document)
        log.info(
            "Build job submitted to Nomad: %s owner=%s new=%s",
            found.job_id,
            document["owner"],
            found.created,
        )
        return found

    async def _dispatch(
        self, parent: str, document: Mapping[str, Any], packed: bytes, token: str | None
    ) -> tuple[str, bool]:
        try:
            return await self._nomad.dispatch(
                parent, packed, token=token, priority=document["priority"]
            )
        except ServiceError as error:
            self._metrics.dispatch_errors.labels(error.name).inc()
            raise

    async def _dispatch_parts(
        self, document: dict[str, Any], classes: Classes, token: str | None
    ) -> Submission:
        """Dispatch a build for each architecture, or none: the first one last, with their ids."""
        (parent, platforms), *others = classes
        if token and (child := await self._nomad.child_of(parent, token)):
            return await self._found(child)
        index, made = split_request.new_id(), list[tuple[str, str]]()
        jobs: list[dict[str, Any]] = []
        try:
            for other, theirs in others:
                made.append((other, split_request.token(index, theirs)))
                part = split_request.part(document, index, theirs)
                child, _ = await self._dispatch(other, part, _encode(part), made[-1][1])
                jobs.append({"job_id": self._job_id(child), "platforms": theirs})
            made.append((parent, token or split_request.token(index, platforms)))
            whole = split_request.first(document, index, platforms, jobs)
            child, new = await self._dispatch(parent, whole, _encode(whole), made[-1][1])
        except BaseException:
            await asyncio.shield(self._withdraw(index, made))
            raise
        if not new:  # the same was submitted at the same moment, and was faster
            await self._withdraw(index, made)
            return await self._found(child)
        job_id = self._job_id(child)
        return Submission(job_id, created=True, platform_jobs=_platform_jobs(job_id, whole))

    async def _found(self, child: str) -> Submission:
        """An earlier build that answers for several."""
        one = from_nomad(self._namespace, child)
        request = await self._builds.request(one)
        return Submission(
            one.job_id, created=False, platform_jobs=_platform_jobs(one.job_id, request)
        )

    async def _withdraw(self, index: str, made: Iterable[tuple[str, str]]) -> None:
        """Remove builds that nobody will be told of, by their classes and tokens.

        One whose dispatch was not answered may be there all the same.
        """
        for parent, token in made:
            try:
                if (child := await self._nomad.child_of(parent, token)) is None:
                    continue
                request = await self._builds.request(from_nomad(self._namespace, child)) or {}
                if (request.get(image_index.FIELD) or {}).get("id") == index:
                    await self._nomad.purge(child)
            except ServiceError as error:
                log.warning("a build of %s is left to itself: %s", parent, error.message)

    async def _may_succeed(self, found: Submission) -> bool:
        for job_id in {found.job_id, *(one["job_id"] for one in found.platform_jobs)}:
            with contextlib.suppress(NotFoundError):
                job = await self._nomad.job(self._builds.parse(job_id).nomad_job_id)
                if job.get("Stop"):
                    return False
        try:
            build = await self._builds.get(found.job_id)
        except UnknownBuildError:
            return False
        return not (build.status.final or build.lost_parts)

    async def kill(self, job_id: str) -> tuple[bool, str]:
        """Stop a build wherever it is; whether it was stopped now, and a sentence."""
        build = await self._builds.get(job_id)
        if build.status is Status.CANCELLED:
            await self.stop_parts(build)  # should that have failed then
            return True, "the build was killed before"
        if build.status.final:
            return False, f"the build has ended already: {build.status}"
        if not await self._stop(build.job_id):
            raise UnknownBuildError(
                f"there is no build {job_id} any more", "Nomad has forgotten it"
            )
        await self.stop_parts(build)
        return True, "Job killed by user; what it holds is cleaned up now"

    async def stop_parts(self, build: Build) -> None:
        """Stop what still runs for a build of several architectures that cannot succeed any more.

        Raises what kept one from being stopped, after trying all.
        """
        failed: ServiceError | None = None
        for one in build.platform_jobs:
            if Status(one["status"]).final:
                continue
            try:
                await self._stop(one["job_id"])
            except ServiceError as error:
                failed = error
        if failed is not None:
            raise failed

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

    async def _check_same(self, job_id: str, document: Mapping[str, Any]) -> None:
        """Nomad answered with an earlier build: it must be of the same request."""
        earlier = await self._builds.request(self._builds.parse(job_id)) or {}
        if image_index.without(earlier) != image_index.without(document):
            raise IdempotencyConflictError(
                "idempotency_key was used before for another request",
                f"build {job_id} has it: use a new key",
            )

    def _job_id(self, child: str) -> str:
        return from_nomad(self._namespace, child).job_id


def _platform_jobs(job_id: str, request: Mapping[str, Any] | None) -> tuple[dict[str, Any], ...]:
    """The builds that one answers for, itself first, from its request."""
    if not (index := (request or {}).get(image_index.FIELD)):
        return ()
    own = {"job_id": job_id, "platforms": index["platforms"]}
    return tuple({**one, "status": "PENDING"} for one in (own, *image_index.others(request)))


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
