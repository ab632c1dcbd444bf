"""The output of one test command: a part of the log of phase test, by its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from controller.contract.json_schema import Problem
from controller.errors import InvalidFieldsError
from controller.logs.excerpt import Line
from controller.logs.files import LogFiles, Piece
from controller.status.build import Build


class OutputFiles(LogFiles):
    """The log files, of which phase test seems to begin and end with one command's output."""

    def __init__(self, files: LogFiles, begin: int, end: int, tail: list[str]) -> None:
        super().__init__(files.files)
        self._begin, self._end = begin, end
        self.tail = tail

    async def size(self, build: Build, phase: str) -> int | None:
        """Where the output ends."""
        found = await super().size(build, phase)
        return None if found is None else min(found, self._end)

    async def last(self, build: Build, phase: str, *, begin: int = 0, most: int) -> Piece | None:
        """The last `most` bytes of the output after byte `begin`."""
        return await super().last(build, phase, begin=max(begin, self._begin), most=most)

    async def first(self, build: Build, phase: str, *, begin: int, most: int) -> Piece | None:
        """The first `most` bytes of the output after byte `begin`."""
        return await super().first(build, phase, begin=max(begin, self._begin), most=most)

    async def every(self, build: Build, phase: str, begin: int = 0) -> AsyncIterator[Line]:
        """Every line of the output, numbered from its beginning."""
        async for line in super().every(build, phase, max(begin, self._begin)):
            yield line


def of_test(files: LogFiles, build: Build, number: int, phase: str | None) -> OutputFiles:
    """The output of a command by its number. Raises InvalidFieldsError."""
    if phase not in (None, "test"):
        raise InvalidFieldsError(
            [Problem("test", f"does not go with phase {phase}", "leave phase out")]
        )
    found = next((one for one in build.commands if one.get("number") == number), None)
    span = _span((found or {}).get("log"))
    if found is None or span is None:
        ended = f"{len(build.commands)} have" if build.status.final else "the phase has not"
        raise InvalidFieldsError(
            [
                Problem(
                    "test",
                    f"names no command that has ended: {ended} ended",
                    "see `commands` in getStatus, or read phase test",
                )
            ]
        )
    tail = [str(line) for line in found.get("output_tail") or ()]
    return OutputFiles(files, span[0], span[1], tail)


def _span(given: object) -> tuple[int, int] | None:
    """First byte and the one after the last; None where a result says something else."""
    if not isinstance(given, list) or len(given) != 2:
        return None
    begin, end = given
    if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end):
        return None
    return begin, end
