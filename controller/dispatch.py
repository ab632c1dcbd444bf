"""From a request to a dispatched job, and a build's stop: validate, check, dispatch.

The controller adds nothing to a build: the document goes to Nomad as payload, and the same document
dispatched by hand gives the same build.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import Any

from controller import build_class
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
from controller.settings import Settings
from controller.webhook_addresses import parse_allowed
from controller.webhooks import acceptance

log = logging.getLogger(__name__)


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

    async def submit(self, given: Any) -> tuple[str, bool]:
        """Dispatch a build; its job_id, and whether it is a new one.

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
        token = _token(document)
        async with self._room.for_build(document["owner"], parent, token):
            try:
                child, new = await self._nomad.dispatch(
                    parent, payload, token=token, priority=document["priority"]
                )
            except ServiceError as error:
                self._metrics.dispatch_errors.labels(error.name).inc()
                raise
        if not new:
            await self._check_same(child, payload)
        job_id = from_nomad(self._namespace, child).job_id
        if new:
            self._metrics.submitted.inc()
        log.info("Build job submitted to Nomad: %s owner=%s new=%s", job_id, document["owner"], new)
        return job_id, new

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
