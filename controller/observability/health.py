"""Do the programs answer that this service rests on?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controller.clients.consul import ConsulClient
from controller.clients.nomad import NomadClient
from controller.clients.vault import VaultClient
from controller.errors import ServiceError
from controller.observability.metrics import Metrics

_WITHIN = 1.5  # seconds; Consul's check of /ready gives up after two
_EVERY = 30.0  # seconds between two rounds for the metric


class Health:
    """Asks each dependency; the answer is a problem in words, or None."""

    def __init__(
        self, nomad: NomadClient, consul: ConsulClient, vault: VaultClient | None, metrics: Metrics
    ) -> None:
        self._nomad = nomad
        self._consul = consul
        self._vault = vault
        self._metrics = metrics

    async def check(self) -> dict[str, str | None]:
        """The problem of each dependency, asked at the same time; sets the metric."""
        checks: dict[str, Callable[[], Awaitable[str | None]]] = {
            "nomad": self.check_nomad,
            "consul": self._check_consul,
        }
        if self._vault is not None:
            checks["vault"] = self._check_vault
        told = await asyncio.gather(*(check() for check in checks.values()))
        found = dict(zip(checks, told, strict=True))
        for name, problem in found.items():
            self._metrics.health.labels(name).set(problem is None)
        return found

    async def run(self) -> None:
        """Keep the metric fresh until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(_EVERY)

    async def check_nomad(self) -> str | None:
        """Nomad's problem, or None."""
        return await _problem(self._leader("nomad", self._nomad.leader))

    async def _check_consul(self) -> str | None:
        return await _problem(self._leader("consul", self._consul.leader))

    async def _check_vault(self) -> str | None:
        async def sealed() -> str | None:
            assert self._vault is not None  # noqa: S101  only asked where there is one
            return "vault is sealed" if await self._vault.sealed() else None

        return await _problem(sealed())

    @staticmethod
    async def _leader(name: str, leader: Callable[[], Awaitable[str]]) -> str | None:
        return None if await leader() else f"{name} has no leader"


async def _problem(check: Awaitable[str | None]) -> str | None:
    try:
        async with asyncio.timeout(_WITHIN):
            return await check
    except TimeoutError:
        return f"no answer within {_WITHIN} s"
    except ServiceError as error:
        return error.message
