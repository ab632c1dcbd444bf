"""Trying again what a registry may grant the next time, and nothing else.

Transient are answers 408, 429 and 5xx, connections that break and servers that do not answer in
time. A refusal (401, 403, a manifest that the registry calls invalid) stays one, and so does a
registry that the node does not trust.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from controller.tasks.errors import PhaseFailed
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline

T = TypeVar("T")
_FIRST_PAUSE = 1.0  # seconds; doubled each time, and spread so that builds do not come in step


class Transient(PhaseFailed):
    """A failure that may pass. `retry_after` are the seconds that the registry asked for."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__("RegistryUnavailable", message)
        self.retry_after = retry_after


def passing(error: PhaseFailed) -> PhaseFailed:
    """A tool's failure, as Transient where it may pass."""
    return Transient(error.message) if error.reason == "RegistryUnavailable" else error


class Tries:
    """How often something is tried, and how long it is waited between, within a deadline."""

    def __init__(self, log: PhaseLog, deadline: Deadline, *, most: int = 5) -> None:
        self._log = log
        self._deadline = deadline
        self._most = most

    def __call__(self, what: str, attempt: Callable[[], T]) -> T:
        """The result of `attempt`. Raises what it raised, at last or for good."""
        for number in range(1, self._most + 1):
            self._deadline.check()
            try:
                return attempt()
            except Transient as error:
                pause = _FIRST_PAUSE * 2 ** (number - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                pause = max(pause, error.retry_after)
                said = f"{what}: try {number} of {self._most} failed: {error.message}"
                if number == self._most:
                    self._log.say(said)
                    raise PhaseFailed(
                        error.reason, f"{error.message} ({self._most} tries)"
                    ) from error
                if pause >= self._deadline.remaining:
                    self._log.say(f"{said}; no time is left to wait {pause:.0f} s")
                    raise PhaseFailed(
                        error.reason,
                        f"{error.message} (after {number} tries; the registry's pause of"
                        f" {pause:.0f} s is longer than the phase)",
                    ) from error
                self._log.say(f"{said}; again in {pause:.1f} s")
                time.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")
