"""Log lines of a build in one answer: the newest, those after a cursor, or those that match."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from controller.clients.nomad_files import NomadFiles
from controller.contract.json_schema import Problem
from controller.contract.results import PHASES
from controller.cursor import Cursor
from controller.errors import InvalidFieldsError
from controller.history.records import History
from controller.logs.excerpt import CHARACTERS_PER_TOKEN, Excerpt, Line, Search, newest, oldest
from controller.logs.files import LogFiles
from controller.logs.test_output import of_test
from controller.settings import Settings
from controller.status.build import Build
from controller.status.builds import Builds

_AHEAD = 64 << 10  # bytes read beyond a budget of characters: times and streams are not counted


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: see `Logs.answer`."""

    phase: str | None = None
    test: int | None = None
    tail: int | None = None
    after: Cursor | None = None
    from_start: bool = False
    search: str | None = None
    context: int = 0
    max_tokens: int | None = None

    @property
    def budget(self) -> int | None:
        """Characters, where tokens are bounded."""
        return self.max_tokens * CHARACTERS_PER_TOKEN if self.max_tokens else None


class Logs:
    """Reads log files, and the history's tails where the files are gone."""

    def __init__(
        self, settings: Settings, builds: Builds, files: NomadFiles, history: History
    ) -> None:
        self._most = settings.log_answer
        self._kept = settings.history_tail
        self._builds = builds
        self._files = LogFiles(files)
        self._history = history

    async def answer(self, job_id: str, wanted: Wanted) -> dict[str, Any]:
        """The answer of getLogs: the lines of each phase, null for a phase not asked for.

        The newest lines that fit, of each phase at most `tail`; with `after` or `from_start` the
        lines from there on, oldest first; with `search` the lines that match the RE2 expression,
        numbered, with `context` lines around them; of the output of one command with `test`.
        `max_tokens` bounds the whole answer. Its
        `cursor` marks where to go on. Raises InvalidFieldsError.
        """
        matches = _expression(wanted)
        build = await self._builds.get(job_id)
        if wanted.test is not None:
            part = of_test(self._files, build, wanted.test, wanted.phase)
            if await part.size(build, "test") is None:
                return _only_tail(build, part.tail)
            one = copy(self)
            one._files, wanted = part, replace(wanted, phase="test", test=None)
            return await one._answer_of(build, wanted, matches)
        return await self._answer_of(build, wanted, matches)

    async def _answer_of(
        self, build: Build, wanted: Wanted, matches: Callable[[str], object] | None
    ) -> dict[str, Any]:
        phases = [one for one in PHASES if wanted.phase in (None, one)]
        recorded = await self._recorded(build, phases)
        if matches:
            return await self._search(build, wanted, matches, phases, recorded)
        if (wanted.after or wanted.from_start) and wanted.tail is None and recorded is None:
            return await self._forward(build, wanted, phases)
        return await self._newest(build, wanted, phases, recorded)

    async def tails(self, build: Build) -> dict[str, list[str]]:
        """The last lines of each phase as they are in the files, for the history."""
        found = await asyncio.gather(
            *(self._files.last(build, phase, most=self._kept) for phase in PHASES)
        )
        return {
            phase: [line.raw.decode("utf-8", "replace") for line in one.lines]
            for phase, one in zip(PHASES, found, strict=True)
            if one
        }

    async def _newest(
        self,
        build: Build,
        wanted: Wanted,
        phases: list[str],
        recorded: Mapping[str, list[Line]] | None,
    ) -> dict[str, Any]:
        lines: dict[str, list[Line]] = {}
        ends: dict[str, int] = {}
        cut: set[str] = set(recorded or ())
        for phase in _complete_until(build, phases):
            begin = _begin(build, phase, wanted.after)
            if recorded is not None:
                lines[phase] = recorded.get(phase, [])
            elif begin is not None and (
                found := await self._files.last(build, phase, begin=begin, most=self._most)
            ):
                lines[phase], ends[phase] = found.lines, found.end
                cut |= {phase} if found.left_out else set()
        chosen = newest(lines, wanted.budget, wanted.tail)
        cut |= {phase for phase, excerpt in chosen.items() if excerpt.left_out}
        cursor = None
        for phase, end in ends.items():
            cursor = Cursor(build.alloc_id or "", phase, end)
        return _answer(
            build,
            {phase: chosen.get(phase, Excerpt()).lines for phase in phases},
            cursor=cursor or wanted.after,
            truncated=cut,
            note="older lines were left out: raise max_tokens or tail, search, or read with "
            "from_start",
        )

    async def _forward(self, build: Build, wanted: Wanted, phases: list[str]) -> dict[str, Any]:
        lines: dict[str, list[str]] = {phase: [] for phase in phases}
        left, cursor, more = wanted.budget, wanted.after, set[str]()
        for phase in _complete_until(build, phases):
            begin = _begin(build, phase, wanted.after)
            if begin is None:
                continue
            if left is not None and left <= 0:
                more |= {phase} if await self._files.size(build, phase) else set()
                continue
            most = self._most if left is None else min(self._most, 2 * left + _AHEAD)
            piece = await self._files.first(build, phase, begin=begin, most=most)
            if piece is None:
                continue
            found = oldest(piece.lines, left)
            lines[phase] = found.lines
            cursor = Cursor(build.alloc_id or "", phase, found.end or begin)
            if found.left_out or piece.left_out:
                more.add(phase)
                left = 0
            elif left is not None:
                left -= sum(len(line) + 1 for line in found.lines)
        return _answer(
            build,
            lines,
            cursor=cursor,
            truncated=more,
            more=bool(more),
            note="there is more: call again with the cursor as `after`",
        )

    async def _search(
        self,
        build: Build,
        wanted: Wanted,
        matches: Callable[[str], object],
        phases: list[str],
        recorded: Mapping[str, list[Line]] | None,
    ) -> dict[str, Any]:
        lines: dict[str, list[str]] = {phase: [] for phase in phases}
        left = wanted.budget or self._most
        count, cursor, more = 0, None, set[str]()
        for phase in phases:
            begin = _begin(build, phase, wanted.after)
            if begin is None:
                continue
            found = Search(matches, context=wanted.context, budget=max(1, left), after=begin)
            if more:  # the answer is full: count on
                found.end = begin
            if recorded is not None:
                for line in recorded.get(phase, []):
                    found.feed(line)
            else:
                async for line in self._files.every(build, phase):
                    found.feed(line)
            lines[phase], count, left = found.lines, count + found.count, left - found.used
            if found.end is not None and found.count and not more:
                more.add(phase)
                cursor = Cursor(build.alloc_id or "", phase, found.end)
        return _answer(
            build,
            lines,
            cursor=cursor if recorded is None else None,
            truncated=more,
            more=bool(more),
            matches=count,
            note="more lines match: call again with the cursor as `after`, or search narrower",
        )

    async def _recorded(self, build: Build, phases: list[str]) -> dict[str, list[Line]] | None:
        """The history's tails of an ended build whose files are gone; None while there are any."""
        if not build.status.final:
            return None
        for phase in phases:
            if await self._files.size(build, phase) is not None:
                return None
        record = await self._history.get(build.job_id)
        return {
            phase: [Line(number, number, line.encode()) for number, line in enumerate(lines, 1)]
            for phase, lines in (record.tails if record else {}).items()
            if phase in phases
        }


def _answer(
    build: Build,
    lines: Mapping[str, list[str]],
    *,
    cursor: Cursor | None,
    truncated: set[str],
    note: str,
    more: bool = False,
    matches: int | None = None,
) -> dict[str, Any]:
    return {
        "job_id": build.job_id,
        "status": str(build.status),
        "logs": dict.fromkeys(PHASES) | dict(lines),
        "truncated": sorted(truncated, key=PHASES.index),
        "more": more,
        "matches": matches,
        "cursor": str(cursor) if cursor else None,
        "note": note if truncated else "",
    }


def _only_tail(build: Build, tail: list[str]) -> dict[str, Any]:
    """What is left of a command's output where the log's file is gone."""
    return _answer(
        build,
        {"test": tail},
        cursor=None,
        truncated={"test"},
        note="the log is gone; these are the command's last lines, without times",
    )


def _complete_until(build: Build, phases: list[str]) -> list[str]:
    """The phases up to the first that goes on: a cursor beyond it would leave lines out.

    The file of the next phase is there already, because its task waits beside it.
    """
    for number, phase in enumerate(phases, 1):
        if build.phases[phase].status in ("pending", "running"):
            return phases[:number]
    return phases


def _begin(build: Build, phase: str, after: Cursor | None) -> int | None:
    """The byte to read a phase from; None where the reader has all of it."""
    if after is None or after.alloc_id != build.alloc_id:
        return 0
    if PHASES.index(phase) < PHASES.index(after.phase):
        return None
    return after.offset if phase == after.phase else 0


def _expression(wanted: Wanted) -> Callable[[str], object] | None:
    if wanted.search is None:
        return None
    if wanted.tail is not None:
        raise InvalidFieldsError(
            [Problem("tail", "does not go with search", "leave one of the two out")]
        )
    import re2  # only here: a controller that nobody asks to search does without

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(wanted.search, options).search  # type: ignore[no-any-return]
    except re2.error as error:
        told = error.args[0] if error.args else "cannot be read"
        told = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        raise InvalidFieldsError(
            [
                Problem(
                    "search",
                    f"is not a regular expression: {told}",
                    "write RE2 syntax (no look-around or back-references), for example "
                    "'(?i)error|fatal'",
                )
            ]
        ) from error
