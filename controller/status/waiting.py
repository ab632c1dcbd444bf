"""Wait for a build's end for a bounded time, and say what happened meanwhile.

A waiter is one more reader of the build's shared log stream, so that a hundred of them cost Nomad
what one costs. It holds nothing between two calls but the cursor that its caller brings back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from controller import cursor
from controller.contract.results import PHASES
from controller.logs.excerpt import cut
from controller.logs.lines import Logs, Wanted
from controller.logs.stream import LogStreams, StreamEvent
from controller.status.build import Build
from controller.status.builds import Builds

Tell = Callable[[float, float | None, str], Awaitable[None]]

_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+/\d+: .*")
_LOOK_BACK = 200  # lines in which the present step is looked for
_LINE = 300  # characters of a line
_LINES = 12_000  # characters of all lines


class Waiting:
    """Waits on behalf of callers."""

    def __init__(self, builds: Builds, logs: Logs, log_streams: LogStreams) -> None:
        self._builds = builds
        self._logs = logs
        self._log_streams = log_streams

    async def wait(
        self, job_id: str, *, after: cursor.Cursor | None, seconds: float, lines: int, tell: Tell
    ) -> dict[str, Any]:
        """The answer of waitForJob once the build is over or `seconds` have passed.

        `lines` is how many of the newest lines after the cursor it shows. `tell` is called with
        the seconds that have passed and the build's state in words, whenever something happens.
        """
        build = await self._builds.get(job_id)
        seen = _Seen(after)
        await self._read(build, seen)
        if not build.status.final and seconds:
            began = asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._follow(build.job_id, seen, tell, began)
            build = await self._builds.get(job_id)
            if build.status.final and not seen.ended:  # it ended in the last moment
                await self._read(build, seen)
        return _answer(build, seen, lines)

    async def _read(self, build: Build, seen: _Seen) -> None:
        """Take what is in the log already."""
        found = await self._logs.answer(build.job_id, Wanted(tail=_LOOK_BACK, after=seen.cursor))
        for phase in PHASES:
            for text in found["logs"][phase] or []:
                seen.line(phase, text)
        seen.cursor = cursor.parse(found["cursor"]) if found["cursor"] else None
        seen.left_out |= bool(found["truncated"])

    async def _follow(self, job_id: str, seen: _Seen, tell: Tell, began: float) -> None:
        async with aclosing(self._log_streams.watch(job_id, seen.cursor)) as events:  # type: ignore[type-var]
            async for event in events:
                seen.take(event)
                if seen.ended:
                    return
                now = asyncio.get_running_loop().time()
                await tell(now - began, None, seen.words)


class _Seen:
    """The newest lines, the present step, and the position after them."""

    def __init__(self, after: cursor.Cursor | None) -> None:
        self.cursor = after
        self.left_out = False
        self.ended = False
        self.lines: deque[str] = deque(maxlen=_LOOK_BACK)
        self.step: str | None = None
        self.words = ""

    def line(self, phase: str, text: str) -> None:
        """Take one line of the log."""
        self.left_out |= len(self.lines) == _LOOK_BACK
        self.lines.append(f"[{phase}] {cut(text, _LINE)}")
        if phase == "build" and _STEP.match(text):
            self.step = cut(text, _LINE)

    def take(self, event: StreamEvent) -> None:
        """Take one event of the stream."""
        self.cursor = cursor.parse(event.cursor) if event.cursor else self.cursor
        self.ended |= event.kind == "end"
        if event.kind == "log":
            self.line(event.data["phase"], event.data["message"])
        if event.kind != "keepalive":
            where = event.data["phase"] or event.data["status"]
            self.words = f"{where}: {cut(event.data['message'], _LINE)}"


def _answer(build: Build, seen: _Seen, most: int) -> dict[str, Any]:
    lines: list[str] = []
    left = _LINES
    for text in reversed(list(seen.lines)[-most:] if most else []):
        left -= len(text)
        if left < 0:
            break
        lines.insert(0, text)
    running = build.phases["build"].status == "running"
    return {
        "job_id": build.job_id,
        "status": str(build.status),
        "final": build.status.final,
        "message": build.message,
        "phases": {phase: view.status for phase, view in build.phases.items()},
        "step": seen.step if running else None,
        "lines": lines,
        "lines_left_out": seen.left_out or len(lines) < len(seen.lines),
        "cursor": str(seen.cursor) if seen.cursor else None,
        "commit": build.commit,
        "image": build.image,
        "digest": build.digest,
        "references": list(build.references),
        "error": build.error,
        "next": _next(build),
    }


def _next(build: Build) -> str:
    if not build.status.final:
        return "call waitForJob again, with the cursor as `after`"
    if build.failure:
        return "call getFailure"
    return "the image is published: use its references, best with the digest"
