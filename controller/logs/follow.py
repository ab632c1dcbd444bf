"""One build's log files, followed once in Nomad for however many people watch.

A Follow begins with its first watcher and ends with its last. It keeps the build's newest state and
a bounded buffer of each phase's log; a reader that is further back than the buffer reads the file
itself (`log_stream`). Nomad never ends a follow on its own: the end of a phase is known from its
task, and then the rest of the file is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controller.clients.nomad_files import NomadFiles, log_path
from controller.contract import image_index
from controller.contract.results import PHASES
from controller.errors import NotFoundError, RefusedError, ServiceError, UnavailableError
from controller.logs.buffer import LogBuffer
from controller.observability.metrics import Metrics
from controller.settings import Settings
from controller.status.build import Build
from controller.status.builds import Builds
from controller.status.watch import Watch
from controller.wakeup import Signal, wait

log = logging.getLogger(__name__)
_RECHECK = 5.0  # seconds after which a build's state is read again without a wake-up
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0  # seconds between attempts to follow
_PIECE = 256 << 10  # bytes
_LAST_TRIES = 5  # to read the rest of an ended phase from a node that does not answer


class Follow:
    """The state and the buffers of one build, and the signal that fires when they change."""

    def __init__(self, build: Build, settings: Settings, files: NomadFiles, metrics: Metrics):
        self.build = build
        self.changed = Signal()
        self.stopped = False
        self.problem: ServiceError | None = None
        self.watchers = 0
        self._most = settings.stream_buffer
        self._files = files
        self._metrics = metrics
        self.buffers = self._new_buffers()
        self._tasks: set[asyncio.Task[None]] = set()

    def _new_buffers(self) -> dict[str, LogBuffer]:
        return {phase: LogBuffer(self._most) for phase in PHASES}

    async def run(self, builds: Builds, wakeups: Signal) -> None:
        """Keep state and buffers up to date until the build is over and its logs are read."""
        copying = asyncio.create_task(self._copy_all())
        try:
            while not (self.build.status.final and copying.done()):
                ticket = wakeups.ticket()
                await self._refresh(builds)
                if copying.done() or self.build.alloc_id != self._alloc_id:
                    copying = await self._copy_again(copying)
                if self.build.status.final:
                    await copying
                    break
                await wait(ticket, _RECHECK)
        finally:
            copying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await copying
            self.stop()

    def stop(self) -> None:
        """Tell all readers that nothing more will come."""
        self.stopped = True
        self.changed.fire()

    async def _refresh(self, builds: Builds) -> None:
        try:
            self.build = await builds.get(self.build.job_id)
        except (UnavailableError, RefusedError) as error:
            log.warning("build %s could not be read: %s", self.build.job_id, error.message)
        self.changed.fire()

    async def _copy_again(self, copying: asyncio.Task[None]) -> asyncio.Task[None]:
        """Begin with the files of another allocation: the first one, or that of a lost node."""
        if copying.done() and self.build.alloc_id == self._alloc_id:
            copying.result()
            return copying
        copying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copying
        if self._alloc_id is not None:
            self.buffers = self._new_buffers()
        return asyncio.create_task(self._copy_all())

    async def _copy_all(self) -> None:
        """Copy the logs of all phases of the present allocation, one after the other."""
        self._alloc_id = self.build.alloc_id
        if self._alloc_id is None:
            return
        for phase in PHASES:
            buffer = self.buffers[phase]
            await self._until(phase, "started")
            upstream = asyncio.create_task(self._copy(self._alloc_id, phase, buffer))
            self._metrics.upstream_follows.inc()
            try:
                await self._until(phase, "ended")
            finally:
                upstream.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await upstream
                self._metrics.upstream_follows.dec()
            await self._copy_rest(self._alloc_id, phase, buffer)
            buffer.close()
            self.changed.fire()

    _alloc_id: str | None = None

    async def _until(self, phase: str, what: str) -> None:
        while True:
            ticket = self.changed.ticket()
            status = self.build.phases[phase].status
            over = self.build.status.final or status not in ("pending", "running")
            if over or (what == "started" and status == "running"):
                return
            await wait(ticket, None)

    async def _copy(self, alloc_id: str, phase: str, buffer: LogBuffer) -> None:
        """Follow the file for ever; each break begins again at the next byte."""
        pause = _FIRST_WAIT
        await self._begin(alloc_id, phase, buffer)
        while True:
            try:
                async for data in self._files.follow(
                    alloc_id, log_path(phase), offset=buffer.received
                ):
                    pause = _FIRST_WAIT
                    if data:
                        buffer.feed(data)
                        self.changed.fire()
            except NotFoundError:
                pass  # the task has not begun to write
            except ServiceError as error:
                self._metrics.reconnects.inc()
                log.info("log of %s broke: %s", self.build.job_id, error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_WAIT)

    async def _begin(self, alloc_id: str, phase: str, buffer: LogBuffer) -> None:
        """Begin a large file near its end; who wants what is before reads it from the file."""
        with contextlib.suppress(ServiceError):
            size = await self._files.size(alloc_id, log_path(phase)) or 0
            if size > self._most and buffer.received == 0:
                offset = size - self._most
                head = (
                    await self._files.read(alloc_id, log_path(phase), offset=offset, limit=_PIECE)
                    or b""
                )
                if b"\n" in head:
                    buffer.begin_at(offset + head.index(b"\n") + 1)

    async def _copy_rest(self, alloc_id: str, phase: str, buffer: LogBuffer) -> None:
        pause = _FIRST_WAIT
        for attempt in range(1, _LAST_TRIES + 1):
            try:
                if attempt == 1 and buffer.received == 0:
                    await self._begin(alloc_id, phase, buffer)
                while data := await self._files.read(
                    alloc_id, log_path(phase), offset=buffer.received, limit=_PIECE
                ):
                    buffer.feed(data)
                    self.changed.fire()
                return
            except ServiceError as error:
                if attempt == _LAST_TRIES:
                    self.problem = error
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_WAIT)


class Follows:
    """The Follow of each build that somebody watches."""

    def __init__(
        self, settings: Settings, builds: Builds, files: NomadFiles, watch: Watch, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._builds = builds
        self._files = files
        self._watch = watch
        self._metrics = metrics
        self._running: dict[str, tuple[Follow, asyncio.Task[None]]] = {}
        self._closed = False

    @asynccontextmanager
    async def join(self, job_id: str) -> AsyncIterator[Follow]:
        """The build's Follow, shared with all who watch it. Raises UnknownBuildError."""
        build = await self._builds.get(job_id)
        follow, task = self._running.get(build.job_id) or self._begin(build)
        follow.watchers += 1
        self._metrics.stream_watchers.inc()
        try:
            yield follow
        finally:
            self._metrics.stream_watchers.dec()
            follow.watchers -= 1
            if not follow.watchers and self._running.get(build.job_id) == (follow, task):
                del self._running[build.job_id]
                task.cancel()

    def close(self) -> None:
        """End every stream; readers finish at once."""
        self._closed = True
        for follow, task in self._running.values():
            task.cancel()
            follow.stop()

    def _begin(self, build: Build) -> tuple[Follow, asyncio.Task[None]]:
        follow = Follow(build, self._settings, self._files, self._metrics)
        if self._closed:
            follow.stop()

        async def run() -> None:
            others = (one["job_id"] for one in image_index.others(build.config))
            jobs = (self._builds.parse(one).nomad_job_id for one in others)
            with self._watch.wakeups(build.nomad_job_id, *jobs) as wakeups:
                await follow.run(self._builds, wakeups)

        task = asyncio.create_task(run())
        task.add_done_callback(lambda done: _report(build.job_id, done))
        self._running[build.job_id] = follow, task
        return follow, task


def _report(job_id: str, done: asyncio.Task[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("following build %s failed", job_id, exc_info=error)
