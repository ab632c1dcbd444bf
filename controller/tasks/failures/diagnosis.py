"""Why Buildah or skopeo failed: from exit code and error lines to one of the known reasons.

Of a failed build see `build_diagnosis`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import buildah_errors, registry_errors
from controller.tasks.isolation.memory import MemoryWatch

_LONGEST_MESSAGE = 600
FOREIGN_PROGRAM = (
    "This is no program for this platform: a script without a #! line, or a program, or a base "
    "image, of another architecture."
)


def signal_name(code: int) -> str | None:
    """The signal behind an exit code of a shell, such as SIGKILL for 137."""
    try:
        return signal.Signals(code - 128).name if code > 128 else None
    except ValueError:
        return None


def out_of_memory(memory: MemoryWatch) -> str:
    """Words for a task that reached its memory limit."""
    limit = memory.limit_mb()
    return "the kernel killed a process: the task used all its memory" + (
        f" of {limit} MB" if limit else ""
    )


def pull_failure(image: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed pull of a base image means. Both `said` lines of stdout and stderr will do."""
    error = registry_errors.last(said)
    return PhaseFailed(
        registry_errors.pull_reason(error), f"{image}: {bounded(buildah_errors.plain(error))}"
    )


def push_failure(reference: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed push means."""
    error = registry_errors.last(said)
    return PhaseFailed(
        registry_errors.push_reason(error), f"{reference}: {bounded(buildah_errors.plain(error))}"
    )


def bounded(text: str) -> str:
    """A message, cut where it is too long for one."""
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"
