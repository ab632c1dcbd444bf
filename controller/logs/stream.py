"""What a watcher of a build sees, as one sequence of events; WebSocket and SSE only frame it.

Every log line once and in order, phases between them, signs of life while nothing happens, and
`end` with the build's status. A reader goes at its own speed and holds nothing but its position:
live it reads the shared buffer, further back it reads the log file in pieces. One that is far
behind all the same is moved ahead, and told how many lines it missed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from controller.clients.nomad_files import NomadFiles, log_path
from controller.contract.log_line import parse_line, utc_now
from controller.contract.results import PHASES
from controller.cursor import Cursor
from controller.history.records import History
from controller.logs.buffer import LogBuffer
from controller.logs.follow import Follow, Follows
from controller.settings import Settings
from controller.status.build import Build, PhaseView, Status
from controller.wakeup import wait

_PIECE = 256 << 10  # bytes read from a file at a time
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_ENDED = ("succeeded", "failed", "skipped", "killed")


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """`kind` is log, phase, status, missed, keepalive or end; `data` is the message's JSON."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    cursor: str | None = None


class LogStreams:
    """Makes the sequence for each watcher."""

    def __init__(
        self, settings: Settings, follows: Follows, files: NomadFiles, history: History
    ) -> None:
        self._follows = follows
        self._files = files
        self._history = history
        self._keepalive = settings.keepalive_interval
        self._lag = 16 * settings.stream_buffer

    async def watch(self, job_id: str, after: Cursor | None) -> AsyncIterator[StreamEvent]:
        """The events from the cursor on, or from the beginning. Raises UnknownBuildError."""
        async with self._follows.join(job_id) as follow:
            reader = _Reader(follow, self._files, self._keepalive, self._lag)
            if after is not None and after.alloc_id == follow.build.alloc_id:
                reader.begin_at(after)
            async for event in reader.events():
                yield event
            if follow.build.status.final:
                if not reader.lines_seen and after is None:
                    async for event in self._from_history(follow.build):
                        yield event
                yield _end(follow.build)

    async def _from_history(self, build: Build) -> AsyncIterator[StreamEvent]:
        """The kept tails of a build whose allocation is gone."""
        record = await self._history.get(build.job_id)
        for phase, lines in (record.tails if record else {}).items():
            for line in lines:
                yield _log(build, phase, line.encode(), None)


class _Reader:
    """One watcher's position, and the events from there."""

    def __init__(self, follow: Follow, files: NomadFiles, keepalive: float, lag: int) -> None:
        self._follow = follow
        self._files = files
        self._keepalive = keepalive
        self._lag = lag
        self._phase = 0
        self._offset = 0
        self._number: int | None = None  # of the next line, where it is known
        self._alloc_id = follow.build.alloc_id
        self._said: tuple[Any, ...] = ()
        self.lines_seen = False

    def begin_at(self, cursor: Cursor) -> None:
        """Go on after what a cursor marks."""
        self._phase, self._offset = PHASES.index(cursor.phase), cursor.offset

    async def events(self) -> AsyncIterator[StreamEvent]:
        """All events until the build is over, or the service stops."""
        while self._phase < len(PHASES) or not self._follow.build.status.final:
            ticket = self._follow.changed.ticket()
            quiet = True
            async for event in self._ready():
                quiet = False
                yield event
            if not quiet:
                continue
            if self._follow.stopped:
                break
            if not await wait(ticket, self._keepalive):
                yield StreamEvent("keepalive")
        if self._follow.problem:
            yield _missed(
                self._follow.build,
                PHASES[min(self._phase, len(PHASES) - 1)],
                None,
                self._follow.problem.message,
            )

    async def _ready(self) -> AsyncIterator[StreamEvent]:
        """What can be told at once."""
        build = self._follow.build
        if build.alloc_id != self._alloc_id:
            if self._alloc_id is not None:
                yield _missed(build, "build", None, f"the build begins again on {build.node}")
                self._phase, self._offset, self._number = 0, 0, None
            self._alloc_id = build.alloc_id
        if event := self._status(build):
            yield event
        if self._phase == len(PHASES):
            return  # the logs are told; task finish still runs
        phase = PHASES[self._phase]
        buffer, view = self._follow.buffers[phase], build.phases[phase]
        if view.status == "pending" and not build.status.final:
            return
        if self._offset == 0 and view.status != "skipped" and (event := self._began(phase, view)):
            yield event
        async for event in self._lines(phase, buffer):
            yield event
        if buffer.closed and self._offset >= buffer.end:
            yield _phase(build, phase, view, self._next(phase))

    async def _lines(self, phase: str, buffer: LogBuffer) -> AsyncIterator[StreamEvent]:
        build = self._follow.build
        if self._offset < buffer.start:
            if self._number is not None and buffer.start - self._offset > self._lag:
                missed = buffer.first - self._number
                # Before the reader is told: while it is slow to take that, the buffer moves on.
                self._offset, self._number = buffer.start, buffer.first
                yield _missed(build, phase, missed, "read too slowly")
                return
            for end, line in await self._from_file(phase, buffer):
                yield self._line(phase, end, line)
            return
        if self._number is None and buffer.end:  # an empty one may yet begin in the file's middle
            self._number = buffer.number(self._offset)
        for end, line in buffer.after(self._offset):
            yield self._line(phase, end, line)

    async def _from_file(self, phase: str, buffer: LogBuffer) -> list[tuple[int, bytes]]:
        """The next piece of the file, up to where the buffer begins."""
        offset = self._offset
        raw = (
            await self._files.read_known(
                self._alloc_id or "",
                log_path(phase),
                offset=offset,
                length=min(_PIECE, buffer.start - offset),
            )
            or b""
        )
        whole = raw[: raw.rfind(b"\n") + 1] or raw
        if not whole:  # the file is gone
            self._offset, self._number = buffer.start, buffer.first
        lines = []
        for line in _LINE.findall(whole):
            offset += len(line)
            lines.append((offset, line))
        return lines

    def _line(self, phase: str, end: int, line: bytes) -> StreamEvent:
        self._offset = end
        self.lines_seen = True
        if self._number is not None:
            self._number += 1
        return _log(self._follow.build, phase, line, Cursor(self._alloc_id or "", phase, end))

    def _status(self, build: Build) -> StreamEvent | None:
        said = (build.status, build.message)
        if build.status.final or said == self._said:
            return None
        self._said = said
        return StreamEvent(
            "status", _message(build, "", build.message or f"build is {build.status}")
        )

    def _began(self, phase: str, view: PhaseView) -> StreamEvent | None:
        if self._begun == phase:
            return None
        self._begun = phase
        return StreamEvent(
            "phase",
            _message(self._follow.build, phase, f"phase {phase} running", at=view.started_at)
            | {"phase_status": "running"},
        )

    _begun = ""

    def _next(self, phase: str) -> Cursor | None:
        told = Cursor(self._alloc_id or "", phase, self._offset)
        self._phase, self._offset, self._number = self._phase + 1, 0, None
        if self._phase < len(PHASES):
            told = Cursor(told.alloc_id, PHASES[self._phase], 0)
        return told if self._alloc_id else None


def _message(
    build: Build,
    phase: str,
    text: str,
    *,
    at: str | None = None,
    level: str = "INFO",
    stream: str = "nbs",
) -> dict[str, Any]:
    """The original's message, widened."""
    return {
        "job_id": build.job_id,
        "phase": phase,
        "timestamp": at or utc_now(),
        "level": level,
        "message": text,
        "stream": stream,
        "status": str(build.status),
    }


def _log(build: Build, phase: str, raw: bytes, cursor: Cursor | None) -> StreamEvent:
    line = parse_line(raw)
    told = str(cursor) if cursor else None
    return StreamEvent(
        "log",
        _message(build, phase, line.text, at=line.timestamp, stream=line.stream) | {"cursor": told},
        told,
    )


def _phase(build: Build, phase: str, view: PhaseView, cursor: Cursor | None) -> StreamEvent:
    status = view.status if view.status in _ENDED else "skipped"
    level = "ERROR" if status == "failed" else "INFO"
    took = f" in {view.duration_seconds:.1f} s" if view.duration_seconds else ""
    told = str(cursor) if cursor else None
    return StreamEvent(
        "phase",
        _message(build, phase, f"phase {phase} {status}{took}", at=view.finished_at, level=level)
        | {"phase_status": status, "cursor": told},
        told,
    )


def _missed(build: Build, phase: str, lines: int | None, why: str) -> StreamEvent:
    count = "some" if lines is None else str(lines)
    return StreamEvent(
        "missed",
        _message(build, phase, f"missed {count} lines: {why}", level="WARN") | {"missed": lines},
    )


def _end(build: Build) -> StreamEvent:
    level = "INFO" if build.status is Status.SUCCEEDED else "ERROR"
    text = f"build {build.status}" + (f": {build.error}" if build.error else "")
    return StreamEvent(
        "end",
        _message(build, "", text, at=build.finished_at, level=level)
        | {
            "commit": build.commit,
            "image": build.image,
            "digest": build.digest,
            "references": list(build.references),
            "failure": build.failure,
            "duration_seconds": build.duration_seconds,
        },
    )
