"""Progress notifications: only for callers that gave a token, growing, and not too many."""

from __future__ import annotations

from time import monotonic
from typing import Any

from mcp.server.context import ServerRequestContext

_INTERVAL = 0.5  # seconds between two notifications
_STEP = 0.001


class Notifications:
    """Progress of one call, as `controller.operations.operation.Progress`."""

    def __init__(self, context: ServerRequestContext[Any, Any]) -> None:
        self._session = context.session
        self._wanted = bool(context.meta and context.meta.get("progress_token") is not None)
        self._last = -1.0
        self._next_at = 0.0
        self._over = False

    async def __call__(self, done: float, total: float | None, message: str) -> None:
        """Tell the caller, unless it was told a moment ago or has its answer already."""
        if not self._wanted or self._over or monotonic() < self._next_at:
            return
        self._last = max(done, self._last + _STEP)  # the protocol wants it to grow each time
        self._next_at = monotonic() + _INTERVAL
        await self._session.report_progress(self._last, total, message or None)

    def over(self) -> None:
        """The answer is there: nothing may follow it."""
        self._over = True
