"""Tickets: what a browser opens a log stream with, because it cannot send a credential there.

A ticket is 256 random bits, good for one stream of one build within a minute. Consul KV has its
SHA-256, never the ticket itself, so any replica takes it, and no one who reads there can use it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from controller.access.callers import ADMIN, READ, Caller
from controller.clients.consul import ConsulClient, create
from controller.errors import (
    InvalidTicketError,
    ServiceError,
    TooManyTicketsError,
    UnavailableError,
)
from controller.status.builds import Builds

PREFIX = "nomad-build-service/tickets/"
LIFE = 60  # seconds
_BITS = 256
_MOST = 600  # tickets of one caller in LIFE on one replica: Consul keeps unused ones for a while


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as its caller gets it, once."""

    ticket: str
    job_id: str


class Tickets:
    """Raises UnavailableError and RefusedError."""

    def __init__(self, store: ConsulClient, builds: Builds) -> None:
        self._consul = store
        self._builds = builds
        self._minute = 0
        self._issued: Counter[str] = Counter()

    async def issue(self, job_id: str, caller: Caller) -> Ticket:
        """A ticket for a build that the caller may see.

        Raises UnknownBuildError, MalformedRequestError, TooManyTicketsError.
        """
        self._count(caller)
        build = await self._builds.get(job_id)
        ticket = secrets.token_urlsafe(_BITS // 8)
        value = {
            "job_id": build.job_id,
            "caller": caller.name,
            "owner": None if caller.may(ADMIN) else caller.owner,
            "expires_at": time.time() + LIFE,
        }
        if not await self._consul.transaction(create(_key(ticket), json.dumps(value).encode())):
            raise UnavailableError("consul", "the ticket could not be stored")
        return Ticket(ticket, build.job_id)

    async def redeem(self, ticket: str, job_id: str) -> Caller:
        """Who got the ticket, allowed to read that build. Any attempt uses the ticket up.

        Raises InvalidTicketError.
        """
        raw = await self._consul.take(_key(ticket))
        if raw is None:
            raise InvalidTicketError("the ticket is unknown, or was used before")
        if (value := _read(raw)) is None:
            raise InvalidTicketError("the ticket is of another version of this service")
        if value["expires_at"] <= time.time():
            raise InvalidTicketError(f"the ticket is older than {LIFE} s")
        try:
            named = self._builds.parse(job_id).job_id
        except ServiceError:
            named = ""
        if named != value["job_id"]:
            raise InvalidTicketError("the ticket is for another build")
        return Caller(value["caller"], frozenset({READ}), value["owner"])

    def _count(self, caller: Caller) -> None:
        if (minute := int(time.time() // LIFE)) != self._minute:
            self._minute, self._issued = minute, Counter()
        self._issued[caller.name] += 1
        if self._issued[caller.name] > _MOST:
            raise TooManyTicketsError(
                f"{_MOST} tickets in {LIFE} s are the most for one caller",
                "use those that you have, or come back in a minute",
            )

    async def remove_expired(self) -> int:
        """Remove what nobody can use any more; how many."""
        found = await self._consul.values(PREFIX)
        expired = [
            name
            for name, raw in found.items()
            if (value := _read(raw)) is None or value["expires_at"] <= time.time()
        ]
        for name in expired:
            await self._consul.delete(PREFIX + name)
        return len(expired)


def _key(ticket: str) -> str:
    return PREFIX + hashlib.sha256(ticket.encode()).hexdigest()


def _read(raw: bytes) -> dict[str, Any] | None:
    """What a ticket is for; None where this version cannot read it."""
    try:
        value = json.loads(raw)
        known = {name: value[name] for name in ("job_id", "caller", "owner", "expires_at")}
        return known | {"expires_at": float(known["expires_at"])}
    except (ValueError, TypeError, KeyError):
        return None
