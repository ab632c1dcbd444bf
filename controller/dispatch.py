"""From a request to a dispatched job, and a build's stop: validate, check, dispatch.

The controller adds nothing to a build: the document goes to Nomad as payload, and the same document
dispatched by hand gives the same build.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from typing import Any

from controller import build_class
from controller.builds import Builds
from controller.clients.nomad import NomadClient
from controller.clients.vault import Found, VaultClient
from controller.contract import request
from controller.contract.job_id import from_nomad
from controller.contract.json_schema import Problem
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

log = logging.getLogger(__name__)
_CREDENTIALS = ("git_credentials_path", "registry_credentials_path")


class Dispatch:
    """Starts and stops builds."""

    def __init__(
        self,
        settings: Settings,
        nomad: NomadClient,
        vault: VaultClient | None,
        builds: Builds,
        metrics: Metrics,
    ) -> None:
        self._parents = settings.parent_jobs
        self._namespace = settings.namespace
        self._nomad = nomad
        self._vault = vault
        self._builds = builds
        self._metrics = metrics

    async def submit(self, given: Any) -> tuple[str, bool]:
        """Dispatch a build; its job_id, and whether it is a new one.

        Raises InvalidFieldsError, RequestTooLargeError, IdempotencyConflictError and what the
        dependencies raise.
        """
        try:
            document = request.normalise(given)
            payload = request.encode(document)
        except request.RequestError as error:
            raise InvalidFieldsError(error.problems) from error
        except request.PayloadTooLargeError as error:
            raise RequestTooLargeError(
                str(error),
                "shorten test commands, build_args and labels: keep scripts in the repository",
            ) from error
        parent = build_class.choose(self._parents, document)
        await self._check_credentials(document)
        try:
            child, new = await self._nomad.dispatch(
                parent, payload, token=_token(document), priority=document["priority"]
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

    async def _check_credentials(self, document: dict[str, Any]) -> None:
        fields = [name for name in _CREDENTIALS if document[name]]
        if self._vault is None or not fields:
            return
        checks = (self._check_path(self._vault, name, document[name]) for name in fields)
        found = await asyncio.gather(*checks)
        problems = [problem for problem in found if problem]
        if problems:
            raise InvalidFieldsError(problems)

    @staticmethod
    async def _check_path(vault: VaultClient, field: str, path: str) -> Problem | None:
        mount, _, rest = path.partition("/")
        if mount != vault.mount:
            return Problem(
                field,
                f"{path!r} is not below the mount {vault.mount!r}",
                f"write {vault.mount}/nomad-build-service/…",
            )
        found = await vault.exists(rest.removeprefix("data/"))
        if found is Found.NO:
            return Problem(
                field,
                f"there is no secret at {path!r}",
                f"store it: vault kv put -mount={vault.mount} {rest.removeprefix('data/')} …",
            )
        if found is Found.REFUSED:
            kind = "git" if field.startswith("git") else "registry"
            return Problem(
                field,
                f"this service may not use {path!r}",
                f"use a path below {vault.mount}/nomad-build-service/{kind}/",
            )
        return None

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
