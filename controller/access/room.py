"""How many builds there may be: of everybody, and of one owner.

What one controller admits to an owner it counts exactly: count and dispatch are one step. Replicas
do not wait for each other, so over several of them a limit may be exceeded by as many builds as
are submitted at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from controller.access.owner_policy import OwnerPolicy
from controller.access.owner_rules import OwnerRules
from controller.clients.nomad import NomadClient
from controller.concurrently import concurrently
from controller.current_builds import Current, CurrentBuilds
from controller.errors import NotFoundError, TooManyBuildsError
from controller.recent import Recent
from controller.settings import Settings

_LOOK_BACK, _AT_ONCE = 200, 16  # builds among which a repeat is looked for
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
    async def for_build(self, owner: str, parent: str, token: str | None) -> AsyncIterator[None]:
        """Hold a place for a build of `owner` while it is dispatched.

        A repeat (by its idempotency token, which Nomad knows by `parent`) of a request that has its
        build already is let through: it adds none. Raises TooManyBuildsError.
        """
        policy = self._rules.policy(owner)
        if not (policy.max_running or policy.max_queued):
            if self._most:
                await self._check(policy, owner, parent, token)
            yield
            return
        lock = self._locks.get(owner)
        if lock is None:
            self._locks[owner] = lock = asyncio.Lock()
        async with lock:
            await self._check(policy, owner, parent, token)
            yield

    async def _check(self, policy: OwnerPolicy, owner: str, parent: str, token: str | None) -> None:
        builds = await self._current.listed()
        active = [one for one in builds if not one.dead]
        refusal = self._all_refusal(len(active))
        if refusal is None and (policy.max_running or policy.max_queued):
            owners = await concurrently(_AT_ONCE, self._owner, active)
            theirs = [one for one, whose in zip(active, owners, strict=True) if whose == owner]
            refusal = _owner_refusal(policy, owner, theirs)
        of_parent = [one for one in builds if one.child.parent == parent]
        if refusal and not (token and await self._is_repeat(of_parent, token)):
            raise refusal

    def _all_refusal(self, active: int) -> TooManyBuildsError | None:
        if not self._most or active < self._most:
            return None
        return TooManyBuildsError(
            f"{active} builds are queued or running; at most {self._most} may be",
            "wait for one to end (getHistory shows them), then submit again",
        )

    async def _owner(self, one: Current) -> str:
        if (kept := self._owners.get(one.job_id)) is not None:
            return kept
        request = await self._current.request(one)
        # What cannot be read is nobody's, and may be readable the next time.
        return self._owners.put(one.job_id, str(request["owner"])) if request else ""

    async def _is_repeat(self, builds: Sequence[Current], token: str) -> bool:
        newest = sorted(builds, key=lambda one: one.created_at, reverse=True)[:_LOOK_BACK]

        async def same(one: Current) -> bool:
            try:
                whole: dict[str, Any] = await self._nomad.job(one.child.nomad_job_id)
            except NotFoundError:
                return False
            return bool(whole.get("DispatchIdempotencyToken") == token)

        return any(await concurrently(_AT_ONCE, same, newest))


def _owner_refusal(
    policy: OwnerPolicy, owner: str, theirs: Sequence[Current]
) -> TooManyBuildsError | None:
    """Why there is no room; a build that waits may run any moment, so it counts for both limits."""
    waiting = sum(not one.placed for one in theirs)
    running = len(theirs) - waiting
    if policy.max_running and len(theirs) >= policy.max_running:
        limit = f"max_running is {policy.max_running}"
    elif policy.max_queued and waiting >= policy.max_queued:
        limit = f"max_queued is {policy.max_queued}"
    else:
        return None
    return TooManyBuildsError(
        f"owner {owner!r} has {running} running and {waiting} queued builds; its limit {limit}",
        f"submit again when one has ended (getHistory shows them), or in "
        f"{TooManyBuildsError.retry_after} s; the operator sets the limit in owner_policies",
    )
