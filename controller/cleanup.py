"""Removes what is left of ended builds: the record, the logs on the node, intermediate images.

The order makes it safe to be interrupted, repeated, and done by several replicas at once: first the
record goes, in one transaction with a mark that keeps every replica from recording the build again
from Nomad's dead job; then the allocation's directory; then the job, so that what was interrupted
is found again in Nomad's list; then the images, which are named after the job_id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controller.clients.nomad import NomadClient
from controller.clients.nomad_files import NomadFiles
from controller.concurrently import concurrently
from controller.contract.job_id import DispatchedJob, parse
from controller.contract.log_line import utc
from controller.errors import ServiceError, UnknownBuildError
from controller.history import summary
from controller.history.records import History
from controller.image_removal import ImageRemoval
from controller.observability.audit import Audit
from controller.observability.metrics import Metrics
from controller.settings import Settings
from controller.status.build import Build
from controller.status.builds import Builds
from controller.status.current_builds import Current, CurrentBuilds

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Which:
    """Which ended builds: `older_than` in seconds since the end; at most `limit`, oldest first."""

    older_than: int | None = None
    owner: str | None = None
    limit: int = 1000

    @property
    def before(self) -> str | None:
        """The latest end that is old enough."""
        if self.older_than is None:
            return None
        return utc(datetime.now(UTC) - timedelta(seconds=self.older_than))


@dataclass(slots=True)
class Cleaned:
    """What was removed, or would be.

    `kept` says of a job_id why something of it stays; in `errors` too where it should have gone.
    """

    cleaned: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    remaining: int = 0

    def keep(self, job_id: str, why: str, *, failed: bool = False) -> None:
        """Say why something stays; `failed`: against what was asked for."""
        self.kept.append((job_id, why))
        if failed:
            self.errors.append((job_id, why))


@dataclass(frozen=True, slots=True)
class _Ended:
    child: DispatchedJob
    day: str
    recorded: bool
    in_nomad: bool

    @property
    def job_id(self) -> str:
        return self.child.job_id


class Cleanup:
    """Raises UnavailableError and RefusedError where it cannot even begin."""

    def __init__(
        self,
        settings: Settings,
        nomad: NomadClient,
        files: NomadFiles,
        builds: Builds,
        current: CurrentBuilds,
        history: History,
        images: ImageRemoval,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._ours = settings.job_ids_begin
        self._nomad = nomad
        self._files = files
        self._builds = builds
        self._current = current
        self._history = history
        self._images = images
        self._metrics = metrics
        self._audit = audit

    async def one(self, job_id: str, *, dry_run: bool, by: str | None) -> Cleaned:
        """Clean up one build. `by` is who asks; None: the retention.

        Raises UnknownBuildError, MalformedRequestError.
        """
        cleaned, child = Cleaned(), self._builds.parse(job_id)
        if not child.job_id.startswith(self._ours):
            raise UnknownBuildError(f"there is no build {child.job_id}", "check the job_id")
        self._builds.forget(child.job_id)  # what is true now, not what was
        try:
            build = await self._builds.get(child.job_id)
        except UnknownBuildError:
            if child.job_id not in await self._history.removed():
                raise
            ended = _Ended(child, "", recorded=False, in_nomad=False)
        else:
            if not build.status.final:
                cleaned.keep(build.job_id, _runs(build), failed=True)
                return cleaned
            await self._remove(cleaned, await self._all_of(build), dry_run=dry_run, by=by)
            return cleaned
        await self._remove(cleaned, [ended], dry_run=dry_run, by=by)
        return cleaned

    async def _all_of(self, build: Build) -> list[_Ended]:
        """The build and those that it answers for; itself last, to be found if interrupted."""
        day = summary.day_of(build.submitted_at or "")
        parts = [one["job_id"] for one in build.platform_jobs if one["job_id"] != build.job_id]
        return [
            _Ended(
                parse(job_id),
                day,
                recorded=await self._history.get(job_id) is not None,
                in_nomad=True,
            )
            for job_id in (*parts, build.job_id)
        ]

    async def many(self, which: Which, *, dry_run: bool, by: str | None) -> Cleaned:
        """Clean up all that `which` names; builds that run are kept."""
        cleaned = Cleaned()
        listed = await self._current.listed()
        index = await self._history.index()
        in_nomad = {one.job_id for one in listed}
        found = await self._of_index(which, index, in_nomad)
        indexed = {job_id for ids in index.values() for job_id in ids}
        unrecorded = [one for one in listed if one.job_id not in indexed]
        found += await self._of_nomad(which, unrecorded, cleaned)
        running = {job_id for job_id, _ in cleaned.kept}
        found = [ended for ended in found if ended.job_id not in running]
        found.sort(key=lambda ended: ended.day)
        cleaned.remaining = max(0, len(found) - which.limit)
        await self._remove(cleaned, found[: which.limit], dry_run=dry_run, by=by)
        return cleaned

    async def _of_index(
        self, which: Which, index: dict[str, list[str]], in_nomad: set[str]
    ) -> list[_Ended]:
        found, before = [], which.before
        for day, job_ids in index.items():
            if before is not None and day > before[:10]:
                continue
            wanted = job_ids
            if before is not None or which.owner is not None:
                wanted = [
                    one.job_id
                    for one in await self._history.summaries(day, job_ids)
                    if (before is None or (one.finished_at or one.created_at) <= before)
                    and which.owner in (None, one.owner)
                ]
            found += [
                _Ended(parse(job_id), day, recorded=True, in_nomad=job_id in in_nomad)
                for job_id in wanted
            ]
        return found

    async def _of_nomad(
        self, which: Which, listed: list[Current], cleaned: Cleaned
    ) -> list[_Ended]:
        """Those that ended just now, that run, and what an interrupted cleanup left."""
        before = which.before
        listed = [one for one in listed if before is None or one.created_at <= before]
        if which.owner is not None:
            requests = await concurrently(_AT_ONCE, self._current.request, listed)
            listed = [
                one
                for one, given in zip(listed, requests, strict=True)
                if given.get("owner") == which.owner
            ]
        found = []
        builds = await concurrently(_AT_ONCE, self._current.build, listed)
        for one, build in zip(listed, builds, strict=True):
            if build is None:
                continue
            if not build.status.final:
                cleaned.keep(one.job_id, _runs(build))
                for part in build.platform_jobs:  # its result needs theirs
                    if part["job_id"] != one.job_id:
                        cleaned.keep(part["job_id"], f"build {one.job_id} has not ended")
            elif before is None or (build.finished_at or one.created_at) <= before:
                day = summary.day_of(one.created_at)
                found.append(_Ended(one.child, day, recorded=False, in_nomad=True))
        return found

    async def _remove(
        self, cleaned: Cleaned, found: list[_Ended], *, dry_run: bool, by: str | None
    ) -> None:
        async def remove(ended: _Ended) -> None:
            try:
                await self._remove_one(cleaned, ended, dry_run=dry_run)
            except ServiceError as error:
                cleaned.keep(ended.job_id, error.message, failed=True)

        await concurrently(_AT_ONCE, remove, found)
        await self._remove_images(cleaned, [ended.job_id for ended in found], dry_run=dry_run)
        failed = {job_id for job_id, _ in cleaned.errors}
        cleaned.cleaned = [ended.job_id for ended in found if ended.job_id not in failed]
        if not dry_run:
            cause = "retention" if by is None else "request"
            for job_id, why in [*((one, "") for one in cleaned.cleaned), *cleaned.errors]:
                self._audit.done("removeBuild", by, why, job_id=job_id, cause=cause)
            for kind in ("history", "logs", "images"):
                count = len(getattr(cleaned, kind))
                self._metrics.cleanup_removed.labels(kind, cause).inc(count)

    async def _remove_images(self, cleaned: Cleaned, job_ids: list[str], *, dry_run: bool) -> None:
        try:
            fates = await self._images.remove(job_ids, dry_run=dry_run)
        except ServiceError as error:
            for job_id in job_ids:
                cleaned.keep(job_id, f"intermediate image: {error.message}", failed=True)
            return
        for fate in fates:
            if fate.status == "removed":
                cleaned.images.append(fate.reference)
            elif fate.status == "kept":
                cleaned.keep(fate.job_id, f"{fate.reference}: {fate.why}", failed=True)

    async def _remove_one(self, cleaned: Cleaned, ended: _Ended, *, dry_run: bool) -> None:
        if dry_run:
            cleaned.history += [ended.job_id] if ended.recorded else []
            cleaned.logs += await self._logs(ended)
            return
        first = await self._history.remove(ended.job_id, ended.day)
        self._builds.forget(ended.job_id)
        if ended.recorded and first:
            cleaned.history.append(ended.job_id)
        for alloc_id in await self._logs(ended):
            if await self._nomad.collect(alloc_id):
                cleaned.logs.append(alloc_id)
        if ended.in_nomad:
            await self._nomad.purge(ended.child.nomad_job_id, ended.child.namespace)

    async def _logs(self, ended: _Ended) -> list[str]:
        """The allocations whose directories are still on their nodes."""
        if not ended.in_nomad:
            return []
        child = ended.child
        known = await self._nomad.allocations(child.nomad_job_id, child.namespace)
        return [one["ID"] for one in known if await self._files.exist(one["ID"])]


def _runs(build: Build) -> str:
    return f"it is {build.status}: killJob stops it, then it can be cleaned up"
