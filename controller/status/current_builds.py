"""The builds that Nomad has: queued, running, and ended but not forgotten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.clients.nomad import NomadClient
from controller.concurrently import concurrently
from controller.contract import image_index
from controller.contract.job_id import DispatchedJob, from_nomad
from controller.contract.log_line import utc
from controller.errors import NotFoundError, UnknownBuildError
from controller.recent import Recent
from controller.settings import Settings
from controller.status.build import Build
from controller.status.builds import Builds, shown_config
from controller.status.placement import placed

_AT_ONCE = 16  # calls to Nomad
_REQUESTS = 4096  # kept in memory; a request never changes


@dataclass(frozen=True, slots=True)
class Current:
    """A build in Nomad's list. `dead`: nothing of it runs or will run; `placed`: on a node."""

    child: DispatchedJob
    created_at: str
    dead: bool
    placed: bool

    @property
    def job_id(self) -> str:
        """The public id."""
        return self.child.job_id


class CurrentBuilds:
    """Nomad's list, with the requests behind it. Raises UnavailableError and RefusedError."""

    def __init__(self, settings: Settings, nomad: NomadClient, builds: Builds) -> None:
        self._namespace = settings.namespace
        self._parents = settings.parent_jobs
        self._prefix = f"{settings.name_prefix}image-build"
        self._nomad = nomad
        self._builds = builds
        self._requests: Recent[dict[str, Any]] = Recent(_REQUESTS)

    async def listed(self, without: Collection[str] = ()) -> list[Current]:
        """Every build of this deployment, but for some job_ids."""
        found = []
        for job in await self._nomad.children(self._prefix):
            child = from_nomad(self._namespace, job["ID"])
            if child.parent in self._parents and child.job_id not in without:
                created = datetime.fromtimestamp((job.get("SubmitTime") or 0) / 1e9, UTC)
                found.append(
                    Current(
                        child,
                        utc(created),
                        dead=job["Status"] == "dead",
                        placed=placed(job.get("JobSummary")),
                    )
                )
        return found

    async def request(self, one: Current) -> dict[str, Any]:
        """What the build was submitted with; empty where that cannot be read any more."""
        if (kept := self._requests.get(one.job_id)) is not None:
            return kept
        try:
            job = await self._nomad.job(one.child.nomad_job_id, one.child.namespace)
        except NotFoundError:
            return {}
        return self._requests.put(one.job_id, shown_config(job) or {})

    async def whole_of(self, job_id: str) -> Current | None:
        """The build that answers for one of a single architecture, where Nomad still has it."""
        listed = await self.listed()
        requests = await concurrently(_AT_ONCE, self.request, listed)
        for one, request in zip(listed, requests, strict=True):
            if any(other["job_id"] == job_id for other in image_index.others(request)):
                return one
        return None

    async def build(self, one: Current) -> Build | None:
        """The build now; None where it was forgotten meanwhile."""
        try:
            return await self._builds.get(one.job_id)
        except UnknownBuildError:
            return None
