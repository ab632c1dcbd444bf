"""Ends builds that wait for a secret which Vault does not give.

The runner asks Vault itself and fails at once. But an operator may give a task a `template` of his
own; then Nomad asks, and a task whose template cannot be rendered stays pending. After
`secret_wait` such a build is stopped, and shown as failed for that reason (see `fold`).
"""

from __future__ import annotations

import asyncio
import logging
import time

from controller.clients.nomad import NomadClient
from controller.contract.job_id import DispatchedJob
from controller.contract.results import PHASES
from controller.errors import ServiceError
from controller.settings import Settings
from controller.status import task_events

log = logging.getLogger(__name__)


class BlockedBuilds:
    """Looks at all live allocations every so often; any number of replicas may do so."""

    def __init__(self, settings: Settings, nomad: NomadClient) -> None:
        self._child = settings.child
        self._nomad = nomad
        self._limit = settings.secret_wait
        self._interval = min(settings.relist_interval, max(1.0, settings.secret_wait / 4))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._look()
            except ServiceError as error:
                log.warning("blocked builds could not be looked for: %s", error.message)

    async def _look(self) -> None:
        now = time.time_ns()
        for allocation in await self._nomad.live_allocations():
            child = self._child(allocation["JobID"])
            if child is None or allocation.get("DesiredStatus") != "run":
                continue
            for phase in PHASES:
                found = task_events.blocked((allocation.get("TaskStates") or {}).get(phase) or {})
                if found and not found.killed and found.longer_than(self._limit, now):
                    log.warning("build %s is ended: task %s %s", child.job_id, phase, found.words)
                    await self._stop(child)

    async def _stop(self, child: DispatchedJob) -> None:
        try:
            await self._nomad.stop(child.nomad_job_id, child.namespace)
        except ServiceError as error:  # the others shall not wait for it
            log.warning("build %s could not be ended: %s", child.job_id, error.message)
