"""A build's log files as lines: the last of them, the first after a byte, or all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from controller.clients.nomad_files import NomadFiles, log_path
from controller.logs.excerpt import Line
from controller.status.build import Build

_PIECE = 1 << 20  # bytes read at a time, between which other work gets its turn


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, the byte after the last, and whether others were left out for want of room."""

    lines: list[Line]
    end: int
    left_out: bool


class LogFiles:
    """The log files of builds, read through Nomad. Methods raise UnavailableError, RefusedError."""

    def __init__(self, files: NomadFiles) -> None:
        self.files = files

    async def size(self, build: Build, phase: str) -> int | None:
        """Bytes of a phase's log, or None where there is no file (any more)."""
        if build.alloc_id is None:
            return None
        return await self.files.size(build.alloc_id, log_path(phase))

    async def last(self, build: Build, phase: str, *, begin: int = 0, most: int) -> Piece | None:
        """The last `most` bytes after byte `begin`; None where there is no file."""
        if (size := await self.size(build, phase)) is None:
            return None
        offset = max(begin, size - most)
        raw = await self._read(build, phase, offset, size - offset)
        left_out = offset > begin
        if left_out:
            head = raw.find(b"\n") + 1
            offset, raw = offset + head, raw[head:]
        return _piece(offset, raw, left_out, partial=build.status.final)

    async def first(self, build: Build, phase: str, *, begin: int, most: int) -> Piece | None:
        """The first `most` bytes after byte `begin`; None where there is no file.

        A line that is longer than that comes in pieces.
        """
        if (size := await self.size(build, phase)) is None:
            return None
        raw = await self._read(build, phase, begin, min(most, size - begin))
        left_out = begin + len(raw) < size
        return _piece(
            begin,
            raw,
            left_out,
            partial=(build.status.final and not left_out) or (left_out and b"\n" not in raw),
        )

    async def every(self, build: Build, phase: str, begin: int = 0) -> AsyncIterator[Line]:
        """Every line of a phase after byte `begin`, numbered from there."""
        number, offset, end, rest = 0, begin, begin, b""
        size = await self.size(build, phase) or 0
        while offset < size and (
            raw := await self._read(build, phase, offset, min(_PIECE, size - offset))
        ):
            offset += len(raw)
            *whole, rest = (rest + raw).split(b"\n")
            for line in whole:
                number, end = number + 1, end + len(line) + 1
                yield Line(number, end, line)
            await asyncio.sleep(0)
        if rest and build.status.final:
            yield Line(number + 1, end + len(rest), rest)

    async def _read(self, build: Build, phase: str, offset: int, limit: int) -> bytes:
        if limit <= 0:
            return b""
        raw = await self.files.read_known(
            build.alloc_id or "", log_path(phase), offset=offset, length=limit
        )
        return raw or b""


def _piece(offset: int, raw: bytes, left_out: bool, *, partial: bool) -> Piece:
    """The lines of a piece of a file; `partial`: a last line without its newline counts too."""
    *whole, rest = raw.split(b"\n")
    lines = []
    for number, line in enumerate(whole, 1):
        offset += len(line) + 1
        lines.append(Line(number, offset, line))
    if rest and partial:
        offset += len(rest)
        lines.append(Line(len(lines) + 1, offset, rest))
    return Piece(lines, offset, left_out)
