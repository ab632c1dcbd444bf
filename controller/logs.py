"""Log lines of a build in one answer: the tail of each phase, or what came after a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from controller.build import Build
from controller.builds import Builds
from controller.clients.nomad_files import NomadFiles, log_path
from controller.contract.log_line import parse_line
from controller.contract.results import PHASES
from controller.cursor import Cursor
from controller.history import History
from controller.settings import Settings


class Logs:
    """Reads log files, and the history's tails where the files are gone."""

    def __init__(
        self, settings: Settings, builds: Builds, files: NomadFiles, history: History
    ) -> None:
        self._most = settings.log_answer
        self._kept = settings.history_tail
        self._builds = builds
        self._files = files
        self._history = history

    async def answer(
        self, job_id: str, *, phase: str | None, tail: int | None, after: Cursor | None
    ) -> dict[str, Any]:
        """The answer of getLogs: the lines of each phase, null for a phase not asked for.

        `tail` bounds the lines of each phase; `after` leaves out what a reader has already, and
        the answer's `cursor` marks where to go on.
        """
        build = await self._builds.get(job_id)
        wanted = [one for one in PHASES if phase in (None, one)]
        logs: dict[str, list[str] | None] = dict.fromkeys(PHASES)
        truncated, gone, cursor = [], True, None
        for one in wanted:
            begin = _begin(build, one, after)
            if begin is None:
                logs[one], gone = [], False
                continue
            found = await self.read(build, one, begin=begin)
            if found is None:
                logs[one] = []
                continue
            lines, cut, end = found
            gone = False
            logs[one] = [parse_line(line).text for line in (lines[-tail:] if tail else lines)]
            truncated += [one] if cut or (tail and len(lines) > tail) else []
            cursor = str(Cursor(build.alloc_id or "", one, end))
        if gone and build.status.final:
            return await self._recorded(build, wanted, tail)
        return {"job_id": build.job_id, "logs": logs, "truncated": truncated, "cursor": cursor}

    async def tails(self, build: Build) -> dict[str, list[str]]:
        """The last lines of each phase as they are in the files, for the history."""
        found = await asyncio.gather(
            *(self.read(build, phase, begin=0, most=self._kept) for phase in PHASES)
        )
        return {
            phase: [line.decode("utf-8", "replace").rstrip("\n") for line in one[0]]
            for phase, one in zip(PHASES, found, strict=True)
            if one
        }

    async def read(
        self, build: Build, phase: str, *, begin: int, most: int | None = None
    ) -> tuple[list[bytes], bool, int] | None:
        """Whole lines from byte `begin` on: the last `most` bytes, whether lines before them were
        left out, and the byte after the last. None where there is no file.
        """
        most = most or self._most
        if build.alloc_id is None:
            return None
        size = await self._files.size(build.alloc_id, log_path(phase))
        if size is None:
            return None
        offset = max(begin, size - most)
        raw = (
            await self._files.read(
                build.alloc_id, log_path(phase), offset=offset, limit=max(1, size - offset)
            )
            or b""
        )
        cut = offset > begin
        if cut:
            head = raw.find(b"\n") + 1
            offset, raw = offset + head, raw[head:]
        if not build.status.final:
            raw = raw[: raw.rfind(b"\n") + 1]  # the last line may still be on its way
        return raw.splitlines(), cut, offset + len(raw)

    async def _recorded(
        self, build: Build, wanted: Sequence[str], tail: int | None
    ) -> dict[str, Any]:
        record = await self._history.get(build.job_id)
        tails = record.tails if record else {}
        logs: dict[str, list[str] | None] = dict.fromkeys(PHASES)
        for phase in wanted:
            lines = tails.get(phase) or []
            logs[phase] = [
                parse_line(line.encode()).text for line in (lines[-tail:] if tail else lines)
            ]
        return {"job_id": build.job_id, "logs": logs, "truncated": sorted(tails), "cursor": None}


def _begin(build: Build, phase: str, after: Cursor | None) -> int | None:
    """The byte to read a phase from; None where the reader has all of it."""
    if after is None or after.alloc_id != build.alloc_id:
        return 0
    if PHASES.index(phase) < PHASES.index(after.phase):
        return None
    return after.offset if phase == after.phase else 0
