"""Who did what, and who was refused what: one line of JSON for each, on logger `audit`.

Values come from callers, so each is escaped (ASCII only, no line break) and cut: a line is always
one line, and a caller cannot write a second one. No credential ever gets here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from controller.access.callers import Caller
from controller.contract.log_line import utc_now
from controller.errors import ServiceError

log = logging.getLogger("audit")
ALLOWED, DONE, FAILED = "allowed", "done", "failed"
_LONGEST = 200  # characters of a value
_LARGEST = 2**53
_INTERRUPTED = 499  # the status that proxies log for a caller who has gone


class Audit:
    """Writes the lines. `changes`: of mutations and refusals; `all`: of everything."""

    def __init__(self, mode: str) -> None:
        self._all = mode == "all"

    @contextmanager
    def deciding(
        self, operation: str, caller: Caller, *, changes: bool, **facts: object
    ) -> Iterator[dict[str, Any]]:
        """Tell how what is done inside ends; it may add facts to what it gets, `changes` too."""
        noted: dict[str, Any] = {"owner": caller.owner, **facts, "changes": changes}
        try:
            yield noted
        except ServiceError as error:
            self._write(operation, caller.name, noted, error.name, error.status, error.message)
            raise
        except Exception:
            self._write(operation, caller.name, noted, "internal_error", 500)
            raise
        except BaseException:
            if noted["changes"] or self._all:
                self._write(operation, caller.name, noted, "interrupted", _INTERRUPTED)
            raise
        if noted["changes"] or self._all:
            self._write(operation, caller.name, noted, ALLOWED, 200)

    def refused(
        self, operation: str, error: ServiceError, caller: Caller | None = None, **facts: object
    ) -> None:
        """Tell of a refusal, of a caller or of somebody who is not known."""
        owner = {"owner": caller.owner} if caller else {}
        name = caller.name if caller else None
        self._write(operation, name, owner | facts, error.name, error.status, error.message)

    def done(self, operation: str, by: str | None = None, why: str = "", **facts: object) -> None:
        """Tell of a change: `by` a caller, or by the controller itself; `why` it did not work."""
        self._write(operation, by, facts, FAILED if why else DONE, why=why or None)

    def _write(
        self,
        operation: str,
        caller: str | None,
        facts: Mapping[str, object],
        outcome: str,
        status: int | None = None,
        why: str | None = None,
    ) -> None:
        line: dict[str, object] = {"time": utc_now(), "operation": operation, "caller": caller}
        line |= {name: value for name, value in facts.items() if name != "changes"}
        line |= {"outcome": outcome, "status": status, "why": why}
        shown = {name: _cut(value) for name, value in line.items() if value is not None}
        log.info("%s", json.dumps(shown))


def _cut(value: object) -> object:
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    # What else callers send where text belongs may be as large and as deep as they like.
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
