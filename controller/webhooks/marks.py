"""Which webhooks are still to be delivered, in Consul KV, and what became of the others.

    nomad-build-service/webhooks/JOB_ID      a mark: where to, how often it was tried, when next
    nomad-build-service/webhook-ends/JOB_ID  what became of it

A mark is written in the transaction that records the build's end, so whoever records a build may
die at once. Any controller may take a mark that is due: it moves `due` beyond the time that a try
can take, bound to the mark's index, so that one of them wins. One that dies meanwhile has only put
the next try off. The mark holds what Nomad may have forgotten by then; never a credential.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from controller.clients import consul
from controller.clients.consul import ConsulClient
from controller.contract.webhook_fields import parse_url
from controller.history.records import WEBHOOK_ENDS, WEBHOOKS
from controller.recent import Recent
from controller.status.build import Build, Status

_SCHEMA = 1
EVENTS = {
    Status.SUCCEEDED: "job.completed",
    Status.FAILED: "job.failed",
    Status.CANCELLED: "job.cancelled",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A webhook to deliver. `due` is in seconds since 1970, by the clock of who wrote it."""

    url: str
    secret: str | None
    headers: dict[str, str]
    due: float
    tries: int = 0
    last_error: str = ""

    def encode(self) -> bytes:
        """As it is kept."""
        return json.dumps({"schema": _SCHEMA, **asdict(self)}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Taken:
    """A mark that this controller has taken, as it is in Consul now."""

    job_id: str
    mark: Mark
    index: int


def decode(raw: bytes) -> Mark:
    """Read a mark. Raises ValueError for one of another version."""
    found: dict[str, Any] = json.loads(raw)
    if not isinstance(found, dict) or found.pop("schema", None) != _SCHEMA:
        raise ValueError("the mark is of another version")
    try:
        mark = Mark(**found)
    except TypeError as error:
        raise ValueError("the mark is of another version") from error
    if not all(isinstance(value, int | float) for value in (mark.due, mark.tries)):
        raise ValueError("the mark is of another version")
    parse_url(mark.url)
    return mark


def wanted(request: Mapping[str, Any] | None, status: Status) -> bool:
    """Whether a request asks for a webhook about a build that ended so."""
    if not (request and request.get("webhook_url")):
        return False
    name = "webhook_on_success" if status is Status.SUCCEEDED else "webhook_on_failure"
    return bool(request[name])


def mark_of(request: Mapping[str, Any], now: float) -> Mark:
    """The mark of a request that asks for a webhook, due at once."""
    return Mark(
        url=request["webhook_url"],
        secret=request["webhook_secret"],
        headers=dict(request["webhook_headers"]),
        due=now,
    )


def creation(job_id: str, mark: Mark) -> consul.Step:
    """The transaction's step that writes a new mark."""
    return consul.put(WEBHOOKS + job_id, mark.encode())


class Marks:
    """The marks of this deployment. Methods raise UnavailableError and RefusedError."""

    def __init__(self, store: ConsulClient, ours: str) -> None:
        self._consul = store
        self._ours = ours
        self._ends: Recent[dict[str, Any]] = Recent()

    async def all(self) -> dict[str, consul.Entry]:
        """Every mark as it is kept, by job_id."""
        found = await self._consul.entries(WEBHOOKS)
        return {job_id: one for job_id, one in found.items() if job_id.startswith(self._ours)}

    async def take(self, job_id: str, mark: Mark, index: int, until: float) -> Taken | None:
        """Take a mark for a try that ends before `until`; None where another one was faster."""
        mark = replace(mark, due=until)
        changed = await self._consul.change(WEBHOOKS + job_id, mark.encode(), index)
        return None if changed is None else Taken(job_id, mark, changed)

    async def put_off(self, taken: Taken, due: float, error: str) -> None:
        """Leave a mark for another try."""
        mark = replace(taken.mark, due=due, tries=taken.mark.tries + 1, last_error=error)
        await self._consul.change(WEBHOOKS + taken.job_id, mark.encode(), taken.index)

    async def end(self, taken: Taken, *, error: str = "") -> bool:
        """Remove a mark and keep what became of it; False where it was removed or taken before."""
        end = _shown(
            "failed" if error else "delivered",
            taken.mark.tries + 1,
            error or taken.mark.last_error,
        )
        return await self._consul.transaction(
            consul.unchanged(WEBHOOKS + taken.job_id, taken.index),
            consul.delete(WEBHOOKS + taken.job_id),
            consul.put(WEBHOOK_ENDS + taken.job_id, json.dumps(end).encode()),
        )

    async def state(self, build: Build) -> dict[str, Any] | None:
        """The webhook of a build as getStatus shows it; None where none will be sent."""
        if not build.status.final:
            asked = (build.config or {}).get("webhook_url")
            return _shown("pending", 0, "") if asked else None
        if not wanted(build.config, build.status):
            return None
        if kept := self._ends.get(build.job_id):
            return kept
        # In this order: a mark that has just gone has left its end.
        if raw := await self._consul.value(WEBHOOKS + build.job_id):
            with suppress(ValueError):
                mark = decode(raw)
                return _shown("pending", mark.tries, mark.last_error)
        if raw := await self._consul.value(WEBHOOK_ENDS + build.job_id):
            end: dict[str, Any] = json.loads(raw)
            return self._ends.put(build.job_id, end)
        return _shown("pending", 0, "")  # the end is not recorded yet


def _shown(state: str, tries: int, error: str) -> dict[str, Any]:
    return {"state": state, "tries": tries, "last_error": error}
