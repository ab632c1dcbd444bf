"""Metrics that no event gives: read from the shared history and from Nomad now and then.

Every replica reads the same, right after its start too: graph one of them or their maximum, never
their sum.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.clients.nomad import NomadClient
from controller.concurrently import concurrently
from controller.contract.log_line import utc
from controller.errors import NotFoundError, ServiceError, UnavailableError
from controller.history.records import History
from controller.observability.metrics import SUCCESS_WINDOWS, Metrics
from controller.settings import Settings
from controller.status.build import Status
from controller.status.builds import Builds

log = logging.getLogger(__name__)
_AT_ONCE = 8  # calls to Nomad
_MOST = 256  # allocations that are asked for their usage; more than run on most clusters
# Summaries are kept by day of submission: who ended in a window may have been submitted before it.
_LONGEST_BUILD = timedelta(days=7)


class Gauges:
    """Sets job_success_rate and resource_usage at the pace of the lists."""

    def __init__(
        self,
        settings: Settings,
        nomad: NomadClient,
        builds: Builds,
        history: History,
        metrics: Metrics,
    ) -> None:
        self._parents = settings.parent_jobs
        self._jobs = f"^{settings.name_prefix}image-build(-[a-z0-9-]+)?/dispatch-"
        self._interval = settings.relist_interval
        self._nomad = nomad
        self._builds = builds
        self._history = history
        self._metrics = metrics

    async def run(self) -> None:
        """Keep the metrics fresh until cancelled; what cannot be read is NaN, not old."""
        readers = (
            (self.success_rates, self._metrics.success),
            (self.usage, self._metrics.usage),
            (self.disk, self._metrics.disk),
            (self._forget_removed, None),
        )
        told: dict[str, str] = {}
        while True:
            for read, forget in readers:
                try:
                    await read()
                    told.pop(read.__name__, None)
                except ServiceError as error:
                    if forget is not None:
                        forget()
                    if told.get(read.__name__) != error.message:
                        log.warning("%s cannot be read: %s", read.__name__, error.message)
                    told[read.__name__] = error.message
            await asyncio.sleep(self._interval * random.uniform(0.75, 1.25))  # noqa: S311  spreads replicas

    async def success_rates(self) -> None:
        """The share of builds that succeeded among those that ended in each window."""
        now = datetime.now(UTC)
        first = utc(now - timedelta(seconds=max(SUCCESS_WINDOWS.values())) - _LONGEST_BUILD)[:10]
        ends: list[tuple[str, bool]] = []
        for day, job_ids in (await self._history.index()).items():
            if day < first:
                break
            ends += [
                (one.finished_at, one.status == Status.SUCCEEDED)
                for one in await self._history.summaries(day, job_ids)
                if one.status != Status.CANCELLED and not one.part
            ]
        rates = {}
        for window, seconds in SUCCESS_WINDOWS.items():
            since = utc(now - timedelta(seconds=seconds))
            told = [succeeded for finished, succeeded in ends if finished >= since]
            rates[window] = sum(told) / len(told) if told else math.nan
        self._metrics.success(rates)

    async def usage(self) -> None:
        """The CPU and memory of running builds, as Nomad measures it; NaN where it does not."""
        running = await self._running()
        measured = [
            one
            for one in await concurrently(_AT_ONCE, self._stats, running[:_MOST])
            if one["CpuStats"].get("Measured") and one["MemoryStats"].get("Measured")
        ]
        unknown = math.nan if running and not measured else 0.0
        self._metrics.usage(
            megahertz=sum((one["CpuStats"]["TotalTicks"] for one in measured), unknown),
            cores=sum((one["CpuStats"]["Percent"] / 100 for one in measured), unknown),
            memory=sum(
                (one["MemoryStats"]["RSS"] or one["MemoryStats"]["Usage"] for one in measured),
                unknown,
            ),
        )

    async def disk(self) -> None:
        """The file systems of running builds' allocation directories, each once.

        Nomad measures no single allocation's disk; this is what runs full.
        """
        nodes = {one["NodeID"] for one in await self._running()}
        self._metrics.disk(sum(await concurrently(_AT_ONCE, self._disk, nodes)))

    async def _running(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._nomad.get(
            "/allocations",
            filter=(
                '(ClientStatus == "running" or ClientStatus == "pending") '
                f'and JobID matches "{self._jobs}"'
            ),
        )
        return [one for one in found if one["JobID"].rpartition("/")[0] in self._parents]

    async def _stats(self, allocation: dict[str, Any]) -> dict[str, Any]:
        try:
            found = await self._nomad.get(f"/client/allocation/{allocation['ID']}/stats")
        except (NotFoundError, UnavailableError):
            return {"CpuStats": {}, "MemoryStats": {}}  # it has just ended, or its node is away
        usage: dict[str, Any] = found["ResourceUsage"]
        return usage

    async def _disk(self, node_id: str) -> float:
        """Bytes used on the file system that holds a node's allocation directories."""
        found = await self._nomad.get("/client/stats", node_id=node_id)
        return float(found["AllocDirStats"]["Used"])

    async def _forget_removed(self) -> None:
        """Builds that another replica cleaned up are not answered from memory."""
        for job_id in await self._history.removed():
            self._builds.forget(job_id)
