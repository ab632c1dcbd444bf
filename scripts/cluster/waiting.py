"""Waiting on a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .errors import ClusterError

T = TypeVar("T")


def wait_for(
    what: str,
    condition: Callable[[], T],
    *,
    seconds: float,
    log: Path | None = None,
    interval: float = 0.05,
) -> T:
    """Poll `condition` until it returns something true, and return that.

    `condition` may raise OSError while the thing is not there yet (connection refused, no such
    file). Anything else it raises ends the wait at once. After `seconds`, raises ClusterError
    naming what was waited for, the last error, and the end of `log`.
    """
    deadline = time.monotonic() + seconds
    last: OSError | None = None
    while True:
        try:
            value = condition()
        except OSError as error:
            last = error
        else:
            if value:
                return value
            last = None
        if time.monotonic() >= deadline:
            break
        time.sleep(interval)
    message = f"{what}: not so within {seconds:g} s"
    if last is not None:
        message += f" (last error: {last})"
    if log is not None:
        message += f"\nend of {log}:\n{tail(log)}"
    raise ClusterError(message)


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, indented, or a note that there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 16384))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return "  (no such file)"
    return "\n".join("  " + line for line in text.splitlines()[-lines:]) or "  (empty)"
