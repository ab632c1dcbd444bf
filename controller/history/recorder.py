"""Records a build's end: the history's entry and the metrics, once over all replicas."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from controller.clients import consul
from controller.contract import image_index
from controller.contract.job_id import DispatchedJob
from controller.errors import UnknownBuildError
from controller.history.records import History
from controller.logs.lines import Logs
from controller.observability.audit import Audit
from controller.observability.metrics import Metrics
from controller.status.build import Build, Status
from controller.status.builds import Builds
from controller.status.current_builds import CurrentBuilds
from controller.webhooks import marks
from controller.webhooks.deliveries import Deliveries

log = logging.getLogger(__name__)
StopParts = Callable[[Build], Awaitable[None]]


class Recorder:
    """Called by the watch for each build that may have ended.

    `stop_parts` is called for each of several architectures that cannot succeed any more.
    """

    def __init__(
        self,
        builds: Builds,
        current: CurrentBuilds,
        logs: Logs,
        history: History,
        deliveries: Deliveries,
        stop_parts: StopParts,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._builds = builds
        self._current = current
        self._logs = logs
        self._history = history
        self._metrics = metrics
        self._audit = audit
        self._deliveries = deliveries
        self._stop_parts = stop_parts

    async def ended(self, child: DispatchedJob) -> bool:
        """Record the end; whether that is settled. Raises UnavailableError, RefusedError."""
        try:
            build = await self._builds.get(child.job_id)
        except UnknownBuildError:
            return True  # purged before anybody could read it
        # Before the record, which is what says that all of this is done.
        if build.lost_parts or build.status in (Status.FAILED, Status.CANCELLED):
            await self._stop_parts(build)
        if not build.status.final:
            await self._keep_own_end(build, child)
            return False
        if image_index.FIELD in (build.config or {}) and not build.platform_jobs:
            await self._tell_whole(build)
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
        return True

    async def _keep_own_end(self, build: Build, child: DispatchedJob) -> None:
        """The others may run for long, and Nomad forget this one meanwhile."""
        if not build.platform_jobs or await self._history.waiting(build.job_id):
            return
        if own := await self._builds.own_end(child):
            await self._history.keep_waiting(own)

    async def _tell_whole(self, part: Build) -> None:
        """Look at the build that answers for this one: it may have waited for its end."""
        if whole := await self._current.whole_of(part.job_id):
            await self.ended(whole.child)

    async def _webhook(self, build: Build, child: DispatchedJob) -> list[consul.Step]:
        """What has to be written with the record so that the build's webhook will be sent."""
        if not marks.wanted(build.config, build.status):
            return []
        # The build shows its headers' names only.
        if (request := await self._builds.request(child)) is None:
            return []
        return [marks.creation(build.job_id, marks.mark_of(request, time.time()))]
