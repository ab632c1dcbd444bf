"""Removes intermediate images, through a dispatched job: the controller may read no credential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.errors import UnavailableError
from controller.settings import Settings
from controller.submission.one_off import OneOff

_JOB, TASK = "image-cleanup", "cleanup"
_BUILDS = 150  # job_ids that fit into one payload
_WITHIN = 300.0  # seconds for one job; a queue for a node counts too


@dataclass(frozen=True, slots=True)
class ImageFate:
    """What became of one intermediate image: removed, absent or kept (`why`)."""

    job_id: str
    reference: str
    status: str
    why: str = ""


class ImageRemoval:
    """Raises UnavailableError and RefusedError; nothing is done where no repository is set."""

    def __init__(self, settings: Settings, one_off: OneOff) -> None:
        self._repository = settings.intermediate_repository
        self._one_off = one_off

    async def remove(self, job_ids: Sequence[str], *, dry_run: bool) -> list[ImageFate]:
        """Remove the images of these builds; with `dry_run` say which are there."""
        fates: list[ImageFate] = []
        if self._repository:
            for begin in range(0, len(job_ids), _BUILDS):
                fates += await self._ask(list(job_ids[begin : begin + _BUILDS]), dry_run=dry_run)
        return fates

    async def _ask(self, job_ids: list[str], *, dry_run: bool) -> list[ImageFate]:
        document = {"job_ids": job_ids, "dry_run": dry_run}
        child, _ = await self._one_off.start(_JOB, document)
        state = await self._one_off.wait(child, [TASK], within=_WITHIN)
        if not state.over:
            await self._one_off.abandon(child)
            raise UnavailableError(
                "nomad",
                f"{child} did not end within {_WITHIN:.0f} s: {state.message}",
                "clean up again later",
            )
        result = state.results.get(TASK)
        if result is None:
            raise UnavailableError(
                "nomad", f"{child} left no result: {state.message}", "see its events"
            )
        if failure := result.get("failure"):
            raise UnavailableError(
                "registry", f"{failure['reason']}: {failure['message']}", failure["hint"]
            )
        await self._one_off.remove(child, state)
        return [
            ImageFate(one["job_id"], one["reference"], one["status"], one.get("why", ""))
            for one in result["fates"]
        ]
