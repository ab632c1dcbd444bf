"""From a request to a dispatched job, and a build's stop: validate, check, dispatch.

The controller adds nothing to a build: the document goes to Nomad as payload, and the same document
dispatched by hand gives the same build.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from controller import build_class, single_flight
from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.access.room import Room
from controller.build import Status
from controller.builds import Builds
from controller.clients.nomad import NomadClient
from controller.contract import request
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
from controller.settings import Settings
from controller.webhook_addresses import parse_allowed
from controller.webhooks import acceptance

_LONGEST_CHAIN = 64  # ended builds of an equal request; then a build of its own
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submission:
    """A build that answers a request: made for it, or found by its key, or joined as it runs."""

    job_id: str
    created: bool
    joined: bool


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
            payload = request.encode(document)
        except request.RequestError as error:
            forbidden = self._rules.problems(error.valid)
            raise InvalidFieldsError([*error.problems, *forbidden]) from error
        except request.PayloadTooLargeError as error:
            raise RequestTooLargeError(
                str(error),
                "push the patch to a branch and build that"
                if document["patch"]
                else "shorten test commands, build_args and labels: keep scripts in the repository",
            ) from error
        parent = await self._parent(document)
        first = single_flight.token_of(document)
        if first is not None:
            child, new = await self._join_or_dispatch(parent, document, payload, first)
        else:
            child, new = await self._dispatch(parent, document, payload, _token(document))
            if not new:
                await self._check_same(child, payload)
        job_id = from_nomad(self._namespace, child).job_id
        if new:
            self._metrics.submitted.inc()
        log.info("Build job submitted to Nomad: %s owner=%s new=%s", job_id, document["owner"], new)
        return Submission(job_id, created=new, joined=first is not None and not new)

    async def again(self, document: dict[str, Any], token: str | None) -> Submission:
        """Dispatch the request of an earlier build with what `controller.rerun` added to it.

        Raises as `submit` does.
        """
        try:
            payload = request.encode(document)
        except request.PayloadTooLargeError as error:
            raise RequestTooLargeError(str(error), "submitJob builds it anew") from error
        parent = await self._parent(document)
        child, new = await self._dispatch(parent, document, payload, token)
        if not new:
            await self._check_same(child, payload)
        job_id = from_nomad(self._namespace, child).job_id
        if new:
            self._metrics.submitted.inc()
        log.info("Build job submitted to Nomad: %s owner=%s new=%s", job_id, document["owner"], new)
        return Submission(job_id, created=new, joined=False)

    async def _dispatch(
        self, parent: str, document: dict[str, Any], payload: bytes, token: str | None
    ) -> tuple[str, bool]:
        async with self._room.for_build(document["owner"], parent, token):
            try:
                return await self._nomad.dispatch(
                    parent, payload, token=token, priority=document["priority"]
                )
            except ServiceError as error:
                self._metrics.dispatch_errors.labels(error.name).inc()
                raise

    async def _join_or_dispatch(
        self, parent: str, document: dict[str, Any], payload: bytes, first: str
    ) -> tuple[str, bool]:
        """The child of an equal request that has not ended, or a new one."""
        token = self._tokens.get(first) or first
        for _ in range(_LONGEST_CHAIN):
            child, new = await self._dispatch(parent, document, payload, token)
            if new or not await self._ended(child):
                self._tokens.put(first, token)
                return child, new
            token = single_flight.next_token(token, child)
        return await self._dispatch(parent, document, payload, None)

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
        child = self._builds.parse(build.job_id)
        try:
            await self._nomad.stop(child.nomad_job_id, child.namespace)
        except NotFoundError as error:
            raise UnknownBuildError(
                f"there is no build {job_id} any more", "Nomad has forgotten it"
            ) from error
        log.info("Build job stopped: %s", build.job_id)
        return True, "Job killed by user; what it holds is cleaned up now"

    async def _parent(self, document: dict[str, Any]) -> str:
        """The job to dispatch. Raises InvalidFieldsError with everything that speaks against it."""
        problems, parent = self._rules.problems(document), ""
        try:
            parent = build_class.choose(self._parents, document)
        except InvalidFieldsError as error:
            problems += error.problems
        problems += acceptance.problems(document, self._allowed)
        # Who may not use a path shall not learn whether there is a secret.
        closed = {problem.field for problem in problems}
        problems += await self._credentials.problems(
            {field: path for field, path in vault_paths(document) if field not in closed}
        )
        if problems:
            raise InvalidFieldsError(problems)
        return parent

    async def _check_same(self, child: str, payload: bytes) -> None:
        """Nomad answered with an earlier child: it must be of the same request."""
        earlier = await self._nomad.job(child)
        # Nomad keeps the payload compressed, but its API decodes it.
        if base64.b64decode(earlier.get("Payload") or "") != payload:
            raise IdempotencyConflictError(
                "idempotency_key was used before for another request",
                f"build {from_nomad(self._namespace, child).job_id} has it: use a new key",
            )


def _token(document: dict[str, Any]) -> str | None:
    key = document["idempotency_key"]
    if key is None:
        return None
    return hashlib.sha256(f"{document['owner']}\0{key}".encode()).hexdigest()
