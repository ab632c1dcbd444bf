"""Records a build's end: the history's entry and the metrics, once over all replicas."""

from __future__ import annotations

import logging

from controller.audit import Audit
from controller.builds import Builds
from controller.contract.job_id import DispatchedJob
from controller.errors import UnknownBuildError
from controller.history import History
from controller.logs import Logs
from controller.metrics import Metrics

log = logging.getLogger(__name__)


class Recorder:
    """Called by the watch for each build that may have ended."""

    def __init__(
        self, builds: Builds, logs: Logs, history: History, metrics: Metrics, audit: Audit
    ) -> None:
        self._builds = builds
        self._logs = logs
        self._history = history
        self._metrics = metrics
        self._audit = audit

    async def ended(self, child: DispatchedJob) -> bool:
        """Record the end; whether that is settled. Raises UnavailableError, RefusedError."""
        try:
            build = await self._builds.get(child.job_id)
        except UnknownBuildError:
            return True  # purged before anybody could read it
        if not build.status.final:
            return False
        if await self._history.add(build, await self._logs.tails(build)):
            self._metrics.ended(build)
            self._audit.done(
                "recordEnd",
                owner=(build.config or {}).get("owner"),
                job_id=build.job_id,
                ended=str(build.status),
            )
            log.info("Job status/phase changed: %s is %s", build.job_id, build.status)
        return True
