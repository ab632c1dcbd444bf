"""The background pass: age of the history and of intermediate images, old marks and tickets.

Every controller does it, at moments of its own; what one has done, the next finds done.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta

from controller.access.tickets import Tickets
from controller.cleanup import Cleanup, Which
from controller.contract.log_line import utc
from controller.errors import ServiceError
from controller.history.records import History
from controller.image_removal import ImageRemoval
from controller.settings import Settings
from controller.status.current_builds import CurrentBuilds

log = logging.getLogger(__name__)
_AT_ONCE = 500  # builds between two looks at the list
_AGAIN = 30.0  # seconds after a pass that failed
# A replica that reads a dead job now must not record it once the mark is gone; and a caller who
# repeats a cleanup within a day is told that it is done.
_MARKED = timedelta(days=1)


class Retention:
    """Keeps the history to its age."""

    def __init__(
        self,
        settings: Settings,
        history: History,
        current: CurrentBuilds,
        cleanup: Cleanup,
        images: ImageRemoval,
        tickets: Tickets,
    ) -> None:
        self._images_kept = settings.intermediate_retention
        self._images = images
        self._without_image: set[str] = set()
        self._kept = settings.history_retention
        self._interval = settings.retention_interval
        self._history = history
        self._current = current
        self._cleanup = cleanup
        self._tickets = tickets

    async def run(self) -> None:
        """Do it now and then until cancelled."""
        while True:
            pause = self._interval
            try:
                await self.once()
            except ServiceError as error:
                log.warning("the history is not kept to its age now: %s", error.message)
                pause = min(pause, _AGAIN)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  spreads replicas

    async def once(self) -> None:
        """One pass. Raises UnavailableError, RefusedError."""
        if indexed := await self._history.index_missing():
            log.info("%d records of earlier versions have summaries now", indexed)
        known = {one.job_id for one in await self._current.listed()}
        await self._history.forget_removed(known, utc(datetime.now(UTC) - _MARKED))
        await self._tickets.remove_expired()
        while self._kept:
            which = Which(older_than=self._kept, limit=_AT_ONCE)
            done = await self._cleanup.many(which, dry_run=False, by=None)
            if done.cleaned:
                log.info("%d builds are older than the history keeps", len(done.cleaned))
            for job_id, why in done.errors:
                log.warning("build %s is old but not removed: %s", job_id, why)
            if not done.remaining or not done.cleaned:
                break
        await self._remove_images()

    async def _remove_images(self) -> None:
        """Remove old intermediate images; the records of their builds stay."""
        if not self._images_kept:
            return
        before = utc(datetime.now(UTC) - timedelta(seconds=self._images_kept))
        old: set[str] = set()
        for day, job_ids in (await self._history.index()).items():
            if day <= before[:10]:
                old |= {
                    one.job_id
                    for one in await self._history.summaries(day, job_ids)
                    if one.intermediate and (one.finished_at or one.created_at) <= before
                }
        # What was looked for once needs no job again; a replica that starts does it once more.
        self._without_image &= old
        for fate in await self._images.remove(sorted(old - self._without_image), dry_run=False):
            if fate.status == "kept":
                log.warning("the image %s is old but not removed: %s", fate.reference, fate.why)
            else:
                self._without_image.add(fate.job_id)
