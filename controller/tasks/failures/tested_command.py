"""One test command: what it said last, how it ended, and what that means."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Sequence
from typing import Any

from controller.tasks.errors import PhaseFailed
from controller.tasks.failures.diagnosis import FOREIGN_PROGRAM, out_of_memory
from controller.tasks.isolation.memory import MemoryWatch

_NOT_STARTED = "process failed to start with error: "
_ENDED_ON = "subprocess exited on "  # Buildah's words for a signal, in Go's words
_OF_BUILDAH = ("subprocess exited ", "Error: exit status ")
_SHELL, _MISSING = "/bin/sh", ": no such file or directory"
_NO_PROGRAM = (_MISSING, ": executable file not found in $PATH")
_NOT_EXECUTABLE = (
    "The image has this file, but the image's user may not execute it: give it mode 755 in the "
    "Dockerfile (COPY --chmod=755), or name its interpreter first."
)
_TAIL_LINES, _TAIL_CHARACTERS = 20, 200  # of each line; an outcome has many commands
_SIGNALS = {(signal.strsignal(one) or "").lower(): one for one in signal.Signals}


class TestedCommand:
    """A command in its container. A test may print without end: only the last lines are kept."""

    __test__ = False  # pytest takes it for tests otherwise

    def __init__(self, number: int, of: int, shown: str, argv: Sequence[str]) -> None:
        self._step = f"test {number}/{of}"
        self._shown = shown
        self.argv = tuple(argv)
        self.record: dict[str, Any] = {
            "number": number,
            "command": shown,
            "exit_code": None,
            "signal": None,
            "duration_seconds": 0.0,
        }
        self.begin()

    def begin(self) -> None:
        """Forget an attempt at which the command was not started."""
        self.first, self._not_started, self._ended_on = "", "", ""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def heard(self, text: str) -> None:
        """Take in a line of output."""
        self.first = self.first or text
        if not self._not_started and text.startswith(_NOT_STARTED):
            self._not_started = text.removeprefix(_NOT_STARTED)
        if text.startswith(_ENDED_ON):
            self._ended_on = text.removeprefix(_ENDED_ON)
        self._tail.append(text[:_TAIL_CHARACTERS])

    @property
    def tail(self) -> list[str]:
        """The last lines, without Buildah's own words about a command that failed."""
        lines = list(self._tail)
        while lines and lines[-1].startswith(_OF_BUILDAH):
            lines.pop()
        return lines

    def ended(self, code: int) -> tuple[int, str | None]:
        """Exit code, 128 + N for signal N, and the signal's name. Buildah gives 1 for every one."""
        number = _SIGNALS.get(self._ended_on) if code else None
        return (code, None) if number is None else (128 + number, number.name)

    def failure(
        self, record: dict[str, Any], memory: MemoryWatch, *, runs_here: bool = True
    ) -> PhaseFailed:
        """Why it failed. `runs_here`: the node runs programs of the image's platform."""
        reason = "TestFailed"
        message = f"{self._step} exited with status {record['exit_code']}"
        if record["signal"]:
            message = f"{self._step} was ended by {record['signal']}"
        hint = None
        if memory.killed():
            reason, message = "OutOfMemory", out_of_memory(memory)
        elif self._not_started:
            reason, message, hint = self._why_not_started(runs_here)
        return PhaseFailed(
            reason,
            message,
            command=self._shown,
            exit_code=record["exit_code"],
            step=self._step,
            hint=hint,
        )

    def _why_not_started(self, runs_here: bool) -> tuple[str, str, str | None]:
        """Reason, message and hint where Buildah could not start it."""
        message = f"{self._step} was not started: {self._not_started}"
        if self._not_started.endswith("exec format error"):
            if not runs_here:
                return "PlatformUnavailable", message, None
            return "TestFailed", message, FOREIGN_PROGRAM
        if self._not_started.endswith("permission denied"):
            return "TestFailed", message, _NOT_EXECUTABLE
        if not self._not_started.endswith(_NO_PROGRAM):
            return "TestFailed", message, None
        if self.argv[0] == _SHELL and self._not_started.endswith(f"{_SHELL}{_MISSING}"):
            return (
                "TestCommandNotFound",
                f"the image has no {_SHELL}, which runs test commands that are strings",
                'Write the command as a list of words, such as ["/app/check", "--all"].',
            )
        return "TestCommandNotFound", self._not_started, None


def all_of(failures: Sequence[PhaseFailed], of: int) -> PhaseFailed:
    """One failure for the phase: the first, and the others in its message."""
    first = failures[0]
    if len(failures) == 1:
        return first
    told = "; ".join(
        one.message
        if one.message.startswith("test ")
        else f"{one.details.get('step')}: {one.message}"
        for one in failures
    )
    return PhaseFailed(
        first.reason, f"{len(failures)} of {of} tests failed: {told}", **first.details
    )
