"""How many builds there may be: of everybody, and of one owner.

What one controller admits to an owner it counts exactly: count and dispatch are one step. Replicas
do not wait for each other, so over several of them a limit may be exceeded by as many builds as
are submitted at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from controller.access.owner_policy import OwnerPolicy
from controller.access.owner_rules import OwnerRules
from controller.clients.nomad import NomadClient
from controller.concurrently import concurrently
from controller.errors import TooManyBuildsError
from controller.recent import Recent
from controller.settings import Settings
from controller.status.current_builds import Current, CurrentBuilds

_AT_ONCE = 16  # calls to Nomad
_OWNERS = 16384  # kept in memory; the owner of a build never changes


class Room:
    """Raises UnavailableError and RefusedError."""

    def __init__(
        self, settings: Settings, nomad: NomadClient, current: CurrentBuilds, rules: OwnerRules
    ) -> None:
        self._most = settings.max_active_builds
        self._nomad = nomad
        self._current = current
        self._rules = rules
        self._owners: Recent[str] = Recent(_OWNERS)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def for_builds(
        self, owner: str, parents: Sequence[str], token: str | None
    ) -> AsyncIterator[None]:
        """Hold places for a request of `owner` while it is dispatched: one for each of `parents`.

        A repeat (by its idempotency token, which Nomad knows by the first of `parents`) of a
        request that has its build already is let through: it adds none. Raises TooManyBuildsError.
        """
        policy = self._rules.policy(owner)
        if not (policy.max_running or policy.max_queued):
            if self._most:
                await self._check(policy, owner, parents, token)
            yield
            return
        lock = self._locks.get(owner)
        if lock is None:
            self._locks[owner] = lock = asyncio.Lock()
        async with lock:
            await self._check(policy, owner, parents, token)
            yield

    async def _check(
        self, policy: OwnerPolicy, owner: str, parents: Sequence[str], token: str | None
    ) -> None:
        active = [one for one in await self._current.listed() if not one.dead]
        refusal = self._all_refusal(len(active), len(parents))
        if refusal is None and (policy.max_running or policy.max_queued):
            owners = await concurrently(_AT_ONCE, self._owner, active)
            theirs = [one for one, whose in zip(active, owners, strict=True) if whose == owner]
            refusal = _owner_refusal(policy, owner, theirs, len(parents))
        if refusal and not (token and await self._nomad.child_of(parents[0], token)):
            raise refusal

    def _all_refusal(self, active: int, wanted: int) -> TooManyBuildsError | None:
        if not self._most or active + wanted <= self._most:
            return None
        return TooManyBuildsError(
            f"{active} builds are queued or running; at most {self._most} may be{_needed(wanted)}",
            _never("max_active_builds")
            if wanted > self._most
            else "wait for one to end (getHistory shows them), then submit again",
        )

    async def _owner(self, one: Current) -> str:
        if (kept := self._owners.get(one.job_id)) is not None:
            return kept
        request = await self._current.request(one)
        # What cannot be read is nobody's, and may be readable the next time.
        return self._owners.put(one.job_id, str(request["owner"])) if request else ""


def _owner_refusal(
    policy: OwnerPolicy, owner: str, theirs: Sequence[Current], wanted: int
) -> TooManyBuildsError | None:
    """Why there is no room; a build that waits may run any moment, so it counts for both limits."""
    waiting = sum(not one.placed for one in theirs)
    running = len(theirs) - waiting
    if policy.max_running and len(theirs) + wanted > policy.max_running:
        name, limit = "max_running", policy.max_running
    elif policy.max_queued and waiting + wanted > policy.max_queued:
        name, limit = "max_queued", policy.max_queued
    else:
        return None
    return TooManyBuildsError(
        f"owner {owner!r} has {running} running and {waiting} queued builds; its limit {name} is "
        f"{limit}{_needed(wanted)}",
        _never(f"{name} in owner_policies")
        if wanted > limit
        else f"submit again when one has ended (getHistory shows them), or in "
        f"{TooManyBuildsError.retry_after} s; the operator sets the limit in owner_policies",
    )


def _needed(wanted: int) -> str:
    return f", and its platforms make {wanted} of this request" if wanted > 1 else ""


def _never(limit: str) -> str:
    return f"ask for fewer platforms at once; the operator sets {limit}"
