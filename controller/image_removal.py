"""Removes intermediate images, through a dispatched job: the controller may read no credential."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from controller import fold
from controller.clients.nomad import NomadClient
from controller.clients.nomad_files import NomadFiles
from controller.contract.results import MAX_RESULT_BYTES, parse_phase_result, phase_result_path
from controller.errors import UnavailableError
from controller.settings import Settings

TASK = "cleanup"
_BUILDS = 150  # job_ids that fit into one payload
_WITHIN = 300.0  # seconds for one job; a queue for a node counts too
_EVERY = 0.3  # seconds between two looks


@dataclass(frozen=True, slots=True)
class ImageFate:
    """What became of one intermediate image: removed, absent or kept (`why`)."""

    job_id: str
    reference: str
    status: str
    why: str = ""


class ImageRemoval:
    """Raises UnavailableError and RefusedError; nothing is done where no repository is set."""

    def __init__(self, settings: Settings, nomad: NomadClient, files: NomadFiles) -> None:
        self._job = f"{settings.name_prefix}image-cleanup"
        self._repository = settings.intermediate_repository
        self._nomad = nomad
        self._files = files

    async def remove(self, job_ids: Sequence[str], *, dry_run: bool) -> list[ImageFate]:
        """Remove the images of these builds; with `dry_run` say which are there."""
        fates: list[ImageFate] = []
        if self._repository:
            for begin in range(0, len(job_ids), _BUILDS):
                fates += await self._ask(list(job_ids[begin : begin + _BUILDS]), dry_run=dry_run)
        return fates

    async def _ask(self, job_ids: list[str], *, dry_run: bool) -> list[ImageFate]:
        payload = json.dumps({"job_ids": job_ids, "dry_run": dry_run}).encode()
        child, _ = await self._nomad.dispatch(self._job, payload, token=None, priority=None)
        try:
            async with asyncio.timeout(_WITHIN):
                alloc_id = await self._ended(child)
        except TimeoutError as error:
            await self._nomad.stop(child)
            raise UnavailableError(
                "nomad", f"{child} did not end within {_WITHIN:.0f} s", "clean up again later"
            ) from error
        path = f"alloc/{phase_result_path(TASK)}"
        raw = await self._files.read(alloc_id, path, limit=MAX_RESULT_BYTES + 1)
        try:
            result = parse_phase_result(raw or b"", phase=TASK, alloc_id=alloc_id)
        except ValueError as error:
            raise UnavailableError("nomad", f"{child} left no result", "see its events") from error
        if result.get("failure"):
            failure = result["failure"]
            raise UnavailableError(
                "registry", f"{failure['reason']}: {failure['message']}", failure["hint"]
            )
        await self._nomad.collect(alloc_id)
        await self._nomad.purge(child)
        return [
            ImageFate(one["job_id"], one["reference"], one["status"], one.get("why", ""))
            for one in result["images"]
        ]

    async def _ended(self, child: str) -> str:
        while True:
            allocation = fold.deciding_allocation(await self._nomad.allocations(child))
            if allocation is not None and fold.task_state(allocation, TASK).get("State") == "dead":
                return str(allocation["ID"])
            await asyncio.sleep(_EVERY)
