"""The record of ended builds in Consul KV: what answers when Nomad has forgotten a build.

Written by whichever controller sees the end first, with compare-and-set, so that every record is
written once and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.build import Build, from_record
from controller.clients.consul import MAX_VALUE, ConsulClient

PREFIX = "nomad-build-service/history/"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Record:
    """An ended build, and the last lines of each phase's log as they were in the files."""

    build: Build
    tails: dict[str, list[str]]


class History:
    """Records by job_id. Methods raise UnavailableError and RefusedError."""

    def __init__(self, consul: ConsulClient) -> None:
        self._consul = consul

    async def get(self, job_id: str) -> Record | None:
        """The record of a build, or None."""
        raw = await self._consul.value(PREFIX + job_id)
        return None if raw is None else _decode(raw)

    async def recorded(self) -> set[str]:
        """The job_ids that have a record."""
        return {key.removeprefix(PREFIX) for key in await self._consul.keys(PREFIX)}

    async def add(self, build: Build, tails: Mapping[str, list[str]]) -> bool:
        """Record an ended build; False where another controller has done so before."""
        return await self._consul.create(PREFIX + build.job_id, encode(build, tails))


def encode(build: Build, tails: Mapping[str, list[str]], most: int = MAX_VALUE) -> bytes:
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
