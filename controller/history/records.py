"""The record of ended builds in Consul KV: what answers when Nomad has forgotten a build.

    nomad-build-service/history/JOB_ID           the record: everything, with the logs' last lines
    nomad-build-service/index/YYYY-MM-DD/JOB_ID  its summary, by the day of submission
    nomad-build-service/removed/JOB_ID           it was cleaned up, so nobody records it again
    nomad-build-service/webhooks/JOB_ID          its webhook is still to be delivered
    nomad-build-service/webhook-ends/JOB_ID      what became of its webhook
    nomad-build-service/waiting/JOB_ID           it has ended, but not yet all that it answers for

Record and summary are written in one transaction by whichever controller sees the end first, once,
and never changed. So a summary that was read may be kept as long as its key is there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from controller.clients import consul
from controller.clients.consul import MAX_TRANSACTION_VALUES, ConsulClient
from controller.concurrently import concurrently
from controller.contract.log_line import utc_now
from controller.history import summary
from controller.history.summary import Summary
from controller.recent import Recent
from controller.status.build import Build, from_record

PREFIX = "nomad-build-service/history/"
REMOVED = "nomad-build-service/removed/"
WEBHOOKS = "nomad-build-service/webhooks/"
WEBHOOK_ENDS = "nomad-build-service/webhook-ends/"
WAITING = "nomad-build-service/waiting/"
OF_A_BUILD = (WEBHOOKS, WEBHOOK_ENDS, WAITING)  # beside its record, and removed with it
_SCHEMA = 1
_SUMMARIES = 50_000  # kept in memory, a few hundred bytes each
_SINGLE = 8  # so many missing summaries of a day are read one by one, more with the whole day


@dataclass(frozen=True, slots=True)
class Record:
    """An ended build, and the last lines of each phase's log as they were in the files."""

    build: Build
    tails: dict[str, list[str]]


class History:
    """Records by job_id. Methods raise UnavailableError and RefusedError.

    `ours` is how the job_ids of this deployment begin: several may share one Consul.
    """

    def __init__(self, store: ConsulClient, ours: str = "") -> None:
        self._consul = store
        self._ours = ours
        self._summaries: Recent[Summary] = Recent(_SUMMARIES)

    async def get(self, job_id: str) -> Record | None:
        """The record of a build, or None."""
        raw = await self._consul.value(PREFIX + job_id)
        return None if raw is None else _decode(raw)

    async def keep_waiting(self, build: Build) -> None:
        """Keep the end of a build alone that answers for others, which may run for long.

        Meanwhile Nomad may forget the build, or its node go away.
        """
        await self._consul.transaction(
            consul.absent(REMOVED + build.job_id),
            consul.create(WAITING + build.job_id, encode(build, {})),
        )

    async def waiting(self, job_id: str) -> Build | None:
        """What `keep_waiting` kept."""
        raw = await self._consul.value(WAITING + job_id)
        return None if raw is None else _decode(raw).build

    async def all_waiting(self) -> set[str]:
        """The job_ids of what is kept so."""
        return await self._below(WAITING)

    async def recorded(self) -> set[str]:
        """The job_ids that need no record: those that have one, and those cleaned up."""
        return await self._below(PREFIX) | await self.removed()

    async def removed(self) -> set[str]:
        """The job_ids that were cleaned up lately."""
        return await self._below(REMOVED)

    async def add(
        self, build: Build, tails: Mapping[str, list[str]], *further: consul.Step
    ) -> bool:
        """Record an ended build; False where that was done before, or it was cleaned up.

        `further` steps are made in the same transaction.
        """
        one = summary.of(build)
        beside = (consul.put(one.key, summary.encode(one)), *further)
        most = MAX_TRANSACTION_VALUES - sum(map(consul.size, beside))
        return await self._consul.transaction(
            consul.absent(REMOVED + build.job_id),
            consul.create(PREFIX + build.job_id, encode(build, tails, most)),
            consul.delete(WAITING + build.job_id),
            *beside,
        )

    async def remove(self, job_id: str, day: str) -> bool:
        """Remove record and summary for good; False where another controller did it before."""
        steps = (
            consul.delete(PREFIX + job_id),
            consul.delete(summary.key(day, job_id)),
            *(consul.delete(prefix + job_id) for prefix in OF_A_BUILD),
        )
        first = await self._consul.transaction(
            consul.create(REMOVED + job_id, utc_now().encode()), *steps
        )
        if not first:
            await self._consul.transaction(*steps)
        return first

    async def index(self) -> dict[str, list[str]]:
        """The job_ids of all summaries by day, the newest day first."""
        days: dict[str, list[str]] = {}
        for name in await self._below(summary.PREFIX):
            day, _, job_id = name.partition("/")
            days.setdefault(day, []).append(job_id)
        return {day: days[day] for day in sorted(days, reverse=True)}

    async def summaries(self, day: str, job_ids: Collection[str]) -> list[Summary]:
        """The summaries of a day, in any order; without those removed meanwhile."""
        missing = [job_id for job_id in job_ids if self._summaries.get(job_id) is None]
        read: dict[str, bytes | None] = {}
        if len(missing) > _SINGLE:
            read |= await self._consul.values(summary.key(day, ""))
        elif missing:
            keys = [summary.key(day, job_id) for job_id in missing]
            values = await concurrently(_SINGLE, self._consul.value, keys)
            read |= dict(zip(missing, values, strict=True))
        found = {job_id: self._summaries.get(job_id) for job_id in job_ids}
        for job_id in missing:
            if raw := read.get(job_id):
                found[job_id] = self._summaries.put(job_id, summary.decode(job_id, raw))
        return [one for one in found.values() if one is not None]

    async def index_missing(self) -> int:
        """Write the summaries of records that have none (of earlier versions); how many."""
        have = {job_id for ids in (await self.index()).values() for job_id in ids}
        written = 0
        for job_id in await self._below(PREFIX) - have:
            if (record := await self.get(job_id)) is None:
                continue
            one = summary.of(record.build)
            written += await self._consul.transaction(
                consul.absent(REMOVED + job_id),
                consul.create(one.key, summary.encode(one)),
            )
        return written

    async def forget_removed(self, known: Collection[str], before: str) -> None:
        """Drop the marks of builds cleaned up before a moment, which Nomad does not know either."""
        for job_id, since in (await self._consul.values(REMOVED)).items():
            if job_id not in known and since.decode() < before:
                await self._consul.delete(REMOVED + job_id)

    async def _below(self, prefix: str) -> set[str]:
        names = {key.removeprefix(prefix) for key in await self._consul.keys(prefix)}
        return {name for name in names if name.rpartition("/")[2].startswith(self._ours)}


def encode(
    build: Build, tails: Mapping[str, list[str]], most: int = MAX_TRANSACTION_VALUES
) -> bytes:
    """A record of at most `most` bytes: the oldest log lines go first, then steps."""
    shown, kept = build.shown(), {phase: list(lines) for phase, lines in tails.items()}
    while True:
        record = {"schema": _SCHEMA, "build": shown, "log_tail": kept}
        raw = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        if len(raw) <= most:
            return raw
        longest = max(kept, key=lambda phase: sum(map(len, kept[phase])), default=None)
        if longest is not None and kept[longest]:
            kept[longest] = kept[longest][len(kept[longest]) // 2 + 1 :]
        elif shown["steps"] or shown["commands"]:
            shown = shown | {"steps": [], "commands": []}
        else:
            shown = shown | {"config": None}


def _decode(raw: bytes) -> Record:
    record: dict[str, Any] = json.loads(raw)
    return Record(from_record(record["build"]), record["log_tail"])
