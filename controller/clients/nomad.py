"""Nomad's HTTP API as this service uses it: jobs, allocations, evaluations, dispatch, stop.

Deviations from python-nomad, on purpose: asynchronous; the idempotency token travels in the query,
where Nomad reads it; a Unix socket works (the task API). Files and events are in `nomad_files` and
`nomad_events`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from controller.contract import payload
from controller.errors import (
    NotFoundError,
    ParentMissingError,
    RefusedError,
    ServiceError,
    UnavailableError,
)
from controller.settings import Settings

_DISPATCH_TRIES = 3
_DEFAULT = "http://127.0.0.1:4646"


class NomadClient:
    """One connection pool to Nomad, in one namespace."""

    def __init__(self, settings: Settings) -> None:
        socket = settings.nomad_unix_addr if not settings.nomad_addr else ""
        self.address = settings.nomad_addr or socket or _DEFAULT
        self.namespace = settings.namespace
        self._token = settings.nomad_token
        self._token_file = Path(settings.nomad_token_file) if settings.nomad_token_file else None
        self._http = httpx.AsyncClient(
            base_url="http://nomad" if socket else self.address,
            transport=httpx.AsyncHTTPTransport(
                uds=socket.removeprefix("unix:").removeprefix("//") or None,
                verify=_trust(settings),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            ),
            timeout=httpx.Timeout(settings.nomad_timeout, pool=None),
            # Nomad is near: to compress an answer takes both sides longer than to send it.
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def get(self, path: str, /, **query: Any) -> Any:
        """GET a JSON document below /v1. Raises NotFoundError, RefusedError, UnavailableError."""
        return (await self.request("GET", path, **query)).json()

    async def request(
        self, method: str, path: str, /, *, json: Any = None, token: str = "", **query: Any
    ) -> httpx.Response:
        """Any request below /v1, with another `token` than ours; the same errors as `get`."""
        try:
            response = await self._http.request(
                method,
                f"/v1{path}",
                json=json,
                params=self._query(query),
                headers={"X-Nomad-Token": token} if token else self._headers(),
            )
        except (httpx.HTTPError, OSError) as error:  # what TLS refuses late is an SSLError
            raise self._down(error) from error
        if response.status_code >= 400:
            raise self._error(response.status_code, response.text)
        return response

    @asynccontextmanager
    async def stream(
        self, path: str, /, *, read_timeout: float | None, **query: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of a long answer. `read_timeout` (seconds) is the longest silence."""
        try:
            async with self._http.stream(
                "GET",
                f"/v1{path}",
                params=self._query(query),
                headers=self._headers(),
                timeout=httpx.Timeout(10.0, read=read_timeout, pool=None),
            ) as response:
                if response.status_code >= 400:
                    text = (await response.aread()).decode("utf-8", "replace")
                    raise self._error(response.status_code, text)
                yield response.aiter_bytes()
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise self._down(error) from error

    async def leader(self) -> str:
        """The address of the leader; empty while there is none."""
        return str(await self.get("/status/leader"))

    async def children(self, prefix: str) -> list[dict[str, Any]]:
        """Stubs of the dispatched jobs whose ID begins with `prefix`."""
        found: list[dict[str, Any]] = await self.get("/jobs", prefix=prefix)
        return [job for job in found if "/dispatch-" in job["ID"]]

    async def child_of(self, parent: str, token: str) -> str | None:
        """The child of an idempotency token (hexadecimal digits), as long as Nomad has it."""
        found = await self.get(
            "/jobs",
            prefix=f"{parent}/dispatch-",
            filter=f'DispatchIdempotencyToken == "{token}"',
        )
        return found[0]["ID"] if found else None

    async def job(self, job_id: str, namespace: str | None = None) -> dict[str, Any]:
        """A job as registered."""
        found: dict[str, Any] = await self.get(f"/job/{_part(job_id)}", namespace=namespace)
        return found

    async def allocations(self, job_id: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Stubs of a job's allocations, with task states."""
        found: list[dict[str, Any]] = await self.get(
            f"/job/{_part(job_id)}/allocations", namespace=namespace
        )
        return found

    async def live_allocations(self) -> list[dict[str, Any]]:
        """Stubs of all allocations that have not ended, with task states."""
        found: list[dict[str, Any]] = await self.get(
            "/allocations",
            task_states="true",
            filter='ClientStatus == "pending" or ClientStatus == "running"',
        )
        return found

    async def evaluations(self, job_id: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """A job's evaluations."""
        found: list[dict[str, Any]] = await self.get(
            f"/job/{_part(job_id)}/evaluations", namespace=namespace
        )
        return found

    async def blocked_evaluations(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """The evaluations of all jobs that wait until a node has room."""
        found: list[dict[str, Any]] = await self.get(
            "/evaluations", status="blocked", namespace=namespace
        )
        return found

    async def nodes(self) -> list[dict[str, Any]]:
        """Stubs of all nodes, with what they have."""
        found: list[dict[str, Any]] = await self.get("/nodes", resources="true")
        return found

    async def node(self, node_id: str) -> dict[str, Any]:
        """A node with its attributes and metadata."""
        found: dict[str, Any] = await self.get(f"/node/{node_id}")
        return found

    async def dispatch(
        self, parent: str, packed: bytes, *, token: str | None, priority: int | None
    ) -> tuple[str, bool]:
        """Dispatch a child with what `payload.pack` gave; its ID, and whether this call made it.

        Nomad may answer with a child that does not exist, where two calls with one token raced: so
        with a token the child is looked up, and the call repeated. Raises ParentMissingError.
        """
        first, rest = payload.split(packed)
        body = {
            "Payload": base64.b64encode(first).decode(),
            "Priority": priority or 0,
            "Meta": {"pack.deployment_name": "", **rest},
        }
        for _ in range(_DISPATCH_TRIES):
            try:
                answer = (
                    await self.request(
                        "POST",
                        f"/job/{_part(parent)}/dispatch",
                        json=body,
                        idempotency_token=token,
                    )
                ).json()
            except ServiceError as error:
                if "parameterized job not found" in error.message or "is stopped" in error.message:
                    raise ParentMissingError(parent, self.namespace) from error
                raise
            child = str(answer["DispatchedJobID"])
            if token is None:
                return child, True
            try:
                await self.job(child)
            except NotFoundError:
                continue
            return child, bool(answer.get("EvalID"))
        raise UnavailableError("nomad", f"the dispatch of {parent} was lost")

    async def stop(self, job_id: str, namespace: str | None = None) -> None:
        """Deregister a job without purging it."""
        await self.request("DELETE", f"/job/{_part(job_id)}", purge="false", namespace=namespace)

    async def purge(self, job_id: str, namespace: str | None = None) -> None:
        """Remove a job and what Nomad knows of it; nothing happens where there is none."""
        try:
            await self.request("DELETE", f"/job/{_part(job_id)}", purge="true", namespace=namespace)
        except ServiceError as error:
            if not _gone(error, "job not found"):  # another controller was faster
                raise

    async def collect(self, alloc_id: str) -> bool:
        """Remove an ended allocation's directory from its node; False where there is none.

        Afterwards Nomad still knows the allocation; once its job is purged it does not, and the
        directory could no longer be reached: so this comes first.
        """
        try:
            await self.request("PUT", f"/client/allocation/{alloc_id}/gc")
        except ServiceError as error:
            if not _gone(error, "No such allocation on client"):  # collected before
                raise
            return False
        return True

    def _query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return {"namespace": self.namespace} | {
            name: value for name, value in query.items() if value is not None
        }

    def _headers(self) -> dict[str, str]:
        token = self._token
        if self._token_file is not None:
            token = self._token_file.read_text(encoding="utf-8").strip()
        return {"X-Nomad-Token": token} if token else {}

    def _down(self, error: Exception) -> UnavailableError:
        return UnavailableError("nomad", f"{type(error).__name__} at {self.address}: {error}")

    def _error(self, status: int, text: str) -> ServiceError:
        text = text.strip()[:500]
        if status == 404:
            return NotFoundError(f"nomad: {text}")
        if status in (401, 403):
            return RefusedError(
                f"nomad refuses this service: {text}",
                "attach the ACL policy of the controller to its job",
            )
        return UnavailableError("nomad", f"answered {status}: {text}")


def _trust(settings: Settings) -> ssl.SSLContext | bool:
    """What Nomad's certificate is verified by, with our own where it asks for one."""
    if not (settings.nomad_cacert or settings.nomad_client_cert):
        return True
    trust = ssl.create_default_context(cafile=settings.nomad_cacert or None)
    if settings.nomad_client_cert:
        trust.load_cert_chain(settings.nomad_client_cert, settings.nomad_client_key or None)
    return trust


def _gone(error: ServiceError, words: str) -> bool:
    """Whether what was to be removed is not there; in a race Nomad says so with status 500."""
    return isinstance(error, NotFoundError) or words in error.message


def _part(job_id: str) -> str:
    return quote(job_id, safe="")
