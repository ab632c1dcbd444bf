"""Which builds there are and when something happened to one.

List first, then Nomad's event stream as wake-ups, then list again every `relist_interval`: the
stream may lose events without a word, so nothing rests on it but speed. What a wake-up means is
read afresh from Nomad by whoever was woken.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controller.clients import nomad_events
from controller.clients.nomad import NomadClient
from controller.contract.job_id import DispatchedJob, parse
from controller.errors import ServiceError
from controller.observability.metrics import Metrics
from controller.settings import Settings
from controller.status.fold import is_over
from controller.status.placement import placed
from controller.wakeup import Signal

log = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0  # seconds between attempts
Names = Callable[[], Awaitable[set[str]]]
Ended = Callable[[DispatchedJob], Awaitable[bool]]


class Watch:
    """One list and one event stream for all builds of this deployment."""

    def __init__(self, settings: Settings, nomad: NomadClient, metrics: Metrics) -> None:
        self._nomad = nomad
        self._child = settings.child
        self._prefix = f"{settings.name_prefix}image-build"
        self._interval = settings.relist_interval
        self._metrics = metrics
        self._signals: dict[str, list[Signal]] = {}
        self._ended: asyncio.Queue[DispatchedJob] = asyncio.Queue()
        self._queued: set[str] = set()
        self._recorded: set[str] = set()

    @contextmanager
    def wakeups(self, *nomad_job_ids: str) -> Iterator[Signal]:
        """A signal of these jobs, for as long as somebody wants it."""
        signal = Signal()
        for job_id in nomad_job_ids:
            self._signals.setdefault(job_id, []).append(signal)
        try:
            yield signal
        finally:
            for job_id in nomad_job_ids:
                self._signals[job_id].remove(signal)
                if not self._signals[job_id]:
                    del self._signals[job_id]

    def _wake_all(self) -> None:
        for signal in [one for signals in self._signals.values() for one in signals]:
            signal.fire()

    async def run(self, ended: Ended, recorded: Names, waiting: Names) -> None:
        """Watch until cancelled. `ended` is called for each build that may have ended.

        It answers whether the end is dealt with; if not, it is called again after the next list.
        `recorded` names the builds (job_id) that were dealt with before this process began,
        `waiting` those that have ended, but not all that they answer for: Nomad may have forgotten
        them.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relist(recorded, waiting))
            group.create_task(self._follow_events())
            for _ in range(2):
                group.create_task(self._deal_with_ends(ended))

    async def _relist(self, recorded: Names, waiting: Names) -> None:
        known = False
        while True:
            try:
                if not known:
                    self._recorded, known = await recorded(), True
                self._take(await self._nomad.children(self._prefix))
                for job_id in await waiting():
                    # A class may be gone, or be another deployment's.
                    if child := self._child(parse(job_id).nomad_job_id):
                        self._queue(child)
            except ServiceError as error:
                log.warning("builds could not be listed: %s", error.message)
            self._wake_all()
            await asyncio.sleep(self._interval)

    def _take(self, jobs: list[dict[str, Any]]) -> None:
        ours = [(child, job) for job in jobs if (child := self._child(job["ID"]))]
        alive = [job["JobSummary"] for _, job in ours if job["Status"] != "dead"]
        waiting = sum(not placed(summary) for summary in alive)
        self._metrics.builds(running=len(alive) - waiting, pending=waiting)
        # What Nomad has forgotten needs no remembering here.
        self._recorded &= {child.job_id for child, _ in ours}
        for child, job in ours:
            if job["Status"] == "dead":
                self._queue(child)

    async def _follow_events(self) -> None:
        pause = _FIRST_WAIT
        while True:
            try:
                async for event in nomad_events.events(self._nomad):
                    pause = _FIRST_WAIT
                    self._event(event)
            except ServiceError as error:
                log.warning("Nomad's event stream broke: %s", error.message)
            self._metrics.reconnects.inc()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  spreads replicas
            pause = min(pause * 2, _LONGEST_WAIT)

    def _event(self, event: nomad_events.Event | None) -> None:
        if event is None:  # a new stream: whatever happened before it is unknown
            self._wake_all()
            return
        if (child := self._child(event.job_id)) is None:
            return
        for signal in self._signals.get(event.job_id, ()):
            signal.fire()
        if event.job_dead or (event.allocation and is_over(event.allocation)):
            self._queue(child)

    def _queue(self, child: DispatchedJob) -> None:
        if child.job_id not in self._recorded and child.job_id not in self._queued:
            self._queued.add(child.job_id)
            self._ended.put_nowait(child)

    async def _deal_with_ends(self, ended: Ended) -> None:
        while True:
            child = await self._ended.get()
            self._queued.discard(child.job_id)
            try:
                if await ended(child):
                    self._recorded.add(child.job_id)
            except ServiceError as error:
                log.warning(
                    "the end of build %s is not recorded yet: %s", child.job_id, error.message
                )
            except Exception:  # one build that cannot be understood must not stop the others
                log.exception("the end of build %s cannot be recorded", child.job_id)
