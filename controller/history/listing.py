"""Pages of builds, the newest first: those that Nomad still has, and those of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controller.concurrently import concurrently
from controller.history import summary
from controller.history.query import Page, Position, Query
from controller.history.records import History
from controller.history.summary import Summary
from controller.status.build import Build
from controller.status.current_builds import Current, CurrentBuilds

_AT_ONCE = 16  # calls to Nomad
_RECORDS_AT_ONCE = 4  # whole records in memory
_NANOSECONDS = 1_000_000_000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """One page. `next` is where the next one begins, None after the last."""

    rows: list[Row]
    positions: list[Position]
    total: int
    next: Position | None


class HistoryList:
    """Reads pages. Raises UnavailableError and RefusedError."""

    def __init__(self, history: History, current: CurrentBuilds) -> None:
        self._history = history
        self._current = current

    async def page(self, query: Query, *, full: bool) -> Listed:
        """One page. `full` adds request and times, for which whole records are read.

        Only the partitions are read that decide what is on the page, or what is counted under a
        filter; what was read once is not read again.
        """
        listed = await self._current.listed()  # first: what ends now is in the index then
        index = await self._history.index()
        recorded = {job_id for ids in index.values() for job_id in ids}
        recorded |= await self._history.removed()
        current = {one.job_id: one for one in listed if one.job_id not in recorded}
        by_day: dict[str, list[Current]] = {}
        for one in current.values():
            by_day.setdefault(summary.day_of(one.created_at), []).append(one)

        page, known = Page(query), dict[str, Summary]()
        for day in sorted({*index, *by_day}, reverse=True):
            if query.since is not None and day < query.since[:10]:
                break
            ids, still = index.get(day, []), by_day.get(day, [])
            if page.passes(day, len(ids) + len(still)):
                continue
            ended = [one for one in await self._history.summaries(day, ids) if query.wants(one)]
            known |= {one.job_id: one for one in ended}
            wanted = [Position(one.created_at, one.job_id) for one in ended]
            wanted += [
                Position(one.created_at, one.job_id) for one in await self._wanted(query, still)
            ]
            for position in sorted(wanted, reverse=True):
                page.take(position)
        rows = await self._rows(page.taken, known, current, full=full)
        return Listed(
            [row for row in rows if row is not None],
            [at for at, row in zip(page.taken, rows, strict=True) if row is not None],
            page.total,
            page.taken[-1] if page.more and page.taken else None,
        )

    async def _wanted(self, query: Query, listed: list[Current]) -> list[Current]:
        listed = [one for one in listed if query.since is None or one.created_at >= query.since]
        if query.owner is not None or query.repo_url is not None:
            requests = await concurrently(_AT_ONCE, self._current.request, listed)
            listed = [
                one
                for one, given in zip(listed, requests, strict=True)
                if query.wants_request(given.get("owner", ""), given.get("repo_url", ""))
            ]
        if query.status is not None:
            builds = await concurrently(_AT_ONCE, self._current.build, listed)
            listed = [
                one
                for one, build in zip(listed, builds, strict=True)
                if build is not None and build.status == query.status
            ]
        return listed

    async def _rows(
        self,
        taken: list[Position],
        known: Mapping[str, Summary],
        current: Mapping[str, Current],
        *,
        full: bool,
    ) -> list[Row | None]:
        async def row(at: Position) -> Row | None:
            if (one := known.get(at.job_id)) is not None and not full:
                return one.shown()
            build = await self._whole(at.job_id, current)
            if build is None:
                return None
            return _full(build) if full else summary.of(build).shown()

        return await concurrently(_RECORDS_AT_ONCE if full else _AT_ONCE, row, taken)

    async def _whole(self, job_id: str, current: Mapping[str, Current]) -> Build | None:
        if job_id in current:
            return await self._current.build(current[job_id])
        record = await self._history.get(job_id)
        return record.build if record else None


def _full(build: Build) -> Row:
    """The original's fields of a build in the list, widened; null for what is not known."""
    shown = build.shown()
    one = summary.of(build)
    duration = one.duration_seconds
    return {
        "id": one.job_id,
        **{name: value or None for name, value in asdict(one).items()},
        "config": shown["config"],
        "metrics": shown["metrics"],
        "duration": None if duration is None else round(duration * _NANOSECONDS),
        "duration_seconds": duration,
    }
