"""Small jobs of the pack that do one thing for the controller: check, promote, clean up.

What needs a credential runs in them, because the controller may read none. Each is dispatched with
a document, and its tasks leave results in the allocation as a build's phases do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.clients.nomad import NomadClient
from controller.clients.nomad_files import NomadFiles
from controller.contract import payload
from controller.contract.results import MAX_RESULT_BYTES, parse_phase_result, phase_result_path
from controller.errors import IdempotencyConflictError, NotFoundError
from controller.settings import Settings
from controller.status import fold, placement

_FIRST_LOOK, _LONGEST_PAUSE = 0.1, 1.0  # seconds


@dataclass(frozen=True, slots=True)
class OneOffState:
    """Where such a job is.

    `over`: nothing of it runs any more. `results` by task, of those that left one. `message`: what
    it waits for, or how it ended without results.
    """

    over: bool
    alloc_id: str | None = None
    results: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    message: str = ""


class OneOff:
    """Methods raise UnavailableError, RefusedError, ParentMissingError."""

    def __init__(self, settings: Settings, nomad: NomadClient, files: NomadFiles) -> None:
        self._prefix = settings.name_prefix
        self._nomad = nomad
        self._files = files

    async def start(
        self, job: str, document: Mapping[str, Any], *, token: str | None = None
    ) -> tuple[str, bool]:
        """Dispatch the pack's job `job`; Nomad's ID of the child, and whether it is a new one.

        A repeat with the same `token` gives the same child. Raises IdempotencyConflictError where
        the token came with another document before.
        """
        packed = payload.pack(document)
        child, new = await self._nomad.dispatch(
            f"{self._prefix}{job}", packed, token=token, priority=None
        )
        if not new and await self.document(child) != payload.unpack(packed):
            raise IdempotencyConflictError(
                "idempotency_key was used before for another request", "use a new key"
            )
        return child, new

    async def document(self, child: str) -> dict[str, Any]:
        """What a child was dispatched with. Raises NotFoundError where there is no such job."""
        job = await self._nomad.job(child)
        try:
            found = payload.unpack(payload.of_job(job) or b"{}")
        except ValueError:  # somebody dispatched it by hand
            return {}
        return found if isinstance(found, dict) else {}

    async def wait(self, child: str, tasks: Sequence[str], *, within: float) -> OneOffState:
        """The state of a dispatched child once it is over, or after `within` seconds."""
        pause, deadline = _FIRST_LOOK, asyncio.get_running_loop().time() + within
        while True:
            state = await self.state(child, tasks)
            left = deadline - asyncio.get_running_loop().time()
            if state.over or left <= 0:
                return state
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.3, _LONGEST_PAUSE)

    async def state(self, child: str, tasks: Sequence[str]) -> OneOffState:
        """The state of a dispatched child now. Raises NotFoundError where there is no such job."""
        job = await self._nomad.job(child)
        allocation = fold.deciding_allocation(await self._nomad.allocations(child))
        if allocation is None:
            evaluations = await self._nomad.evaluations(child)
            over = bool(job.get("Stop")) or not (
                job["Status"] != "dead" or placement.waits(evaluations)
            )
            return OneOffState(over, message=placement.words(evaluations, job))
        over = fold.is_over(allocation)
        results = {
            task: await self._result(allocation["ID"], task)
            for task in tasks
            if over or fold.task_state(allocation, task).get("State") == "dead"
        }
        return OneOffState(
            over,
            allocation["ID"],
            {task: result for task, result in results.items() if result is not None},
            f"its allocation is {allocation['ClientStatus']}" if over else "it runs",
        )

    async def remove(self, child: str, state: OneOffState) -> None:
        """Remove a job that is over, with its directory."""
        if state.alloc_id is not None:
            await self._nomad.collect(state.alloc_id)
        await self._nomad.purge(child)

    async def abandon(self, child: str) -> None:
        """Stop and forget a job that nobody waits for any more."""
        with contextlib.suppress(NotFoundError):
            await self._nomad.purge(child)

    async def _result(self, alloc_id: str, task: str) -> dict[str, Any] | None:
        raw = await self._files.read(
            alloc_id, f"alloc/{phase_result_path(task)}", limit=MAX_RESULT_BYTES + 1
        )
        try:
            return None if raw is None else parse_phase_result(raw, phase=task, alloc_id=alloc_id)
        except ValueError:
            return None  # a task that ended well writes a valid one
