"""Records a build's end: the history's entry and the metrics, once over all replicas."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from controller.audit import Audit
from controller.build import Build, Status
from controller.builds import Builds
from controller.clients import consul
from controller.contract.job_id import DispatchedJob
from controller.errors import UnknownBuildError
from controller.history.records import History
from controller.logs.lines import Logs
from controller.metrics import Metrics
from controller.webhooks import marks
from controller.webhooks.deliveries import Deliveries

log = logging.getLogger(__name__)
Failed = Callable[[Build], Awaitable[None]]


class Recorder:
    """Called by the watch for each build that may have ended; calls `failed` for those that did."""

    def __init__(
        self,
        builds: Builds,
        logs: Logs,
        history: History,
        deliveries: Deliveries,
        failed: Failed,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._builds = builds
        self._logs = logs
        self._history = history
        self._metrics = metrics
        self._audit = audit
        self._deliveries = deliveries
        self._failed = failed

    async def ended(self, child: DispatchedJob) -> bool:
        """Record the end; whether that is settled. Raises UnavailableError, RefusedError."""
        try:
            build = await self._builds.get(child.job_id)
        except UnknownBuildError:
            return True  # purged before anybody could read it
        if not build.status.final:
            return False
        webhook = await self._webhook(build, child)
        if await self._history.add(build, await self._logs.tails(build), *webhook):
            self._metrics.ended(build)
            self._audit.done(
                "recordEnd",
                owner=(build.config or {}).get("owner"),
                job_id=build.job_id,
                ended=str(build.status),
            )
            log.info("Job status/phase changed: %s is %s", build.job_id, build.status)
            if webhook:
                self._deliveries.wake()
            if build.status is not Status.SUCCEEDED:
                await self._failed(build)
        return True

    async def _webhook(self, build: Build, child: DispatchedJob) -> list[consul.Step]:
        """What has to be written with the record so that the build's webhook will be sent."""
        if not marks.wanted(build.config, build.status):
            return []
        # The build shows its headers' names only.
        if (request := await self._builds.request(child)) is None:
            return []
        return [marks.creation(build.job_id, marks.mark_of(request, time.time()))]
