"""Builds as they are now: gathers what Nomad, the allocation and the history say, and folds it.

Holds nothing that it could not read again; what is final is kept for a while, because it cannot
change and is asked for often.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.clients.nomad import NomadClient
from controller.clients.nomad_files import NomadFiles
from controller.contract import image_index, patch, request
from controller.contract.job_id import DispatchedJob, parse
from controller.contract.log_line import utc_now
from controller.contract.results import (
    MAX_RESULT_BYTES,
    OUTCOME_FILE,
    PHASES,
    parse_outcome,
    parse_phase_result,
    phase_result_path,
)
from controller.contract.webhook_fields import parse_url
from controller.errors import MalformedRequestError, NotFoundError, UnknownBuildError
from controller.history.records import History
from controller.recent import Recent
from controller.settings import Settings
from controller.status import fold, placement
from controller.status.build import Build, Status, seconds_between
from controller.status.combined_build import Other, combine

_PATIENCE = 600.0  # seconds
_HIDDEN = "(hidden)"


class Builds:
    """Finds and folds builds."""

    def __init__(
        self, settings: Settings, nomad: NomadClient, files: NomadFiles, history: History
    ) -> None:
        self._namespace = settings.namespace
        self._parents = settings.parent_jobs
        self._begin = settings.job_ids_begin
        self._secret_wait = settings.secret_wait
        self._nomad = nomad
        self._files = files
        self._history = history
        self._final: Recent[Build] = Recent()
        self._results: Recent[dict[str, Any]] = Recent()

    def forget(self, job_id: str) -> None:
        """Do not answer from memory about a build that was cleaned up."""
        self._final.pop(job_id)

    def parse(self, job_id: str) -> DispatchedJob:
        """The dispatched job that a caller's id names. Raises MalformedRequestError."""
        try:
            return parse(job_id, default_namespace=self._namespace)
        except ValueError as error:
            raise MalformedRequestError(str(error)) from error

    async def request(self, child: DispatchedJob) -> dict[str, Any] | None:
        """The request of a build as it was given; None where Nomad has it no more."""
        try:
            job = await self._nomad.job(child.nomad_job_id, child.namespace)
        except NotFoundError:
            return None
        return _request(job)

    async def get(self, job_id: str) -> Build:
        """The build now. Raises UnknownBuildError, MalformedRequestError, UnavailableError."""
        return await self._get(self.parse(job_id), alone=False)

    async def own_end(self, child: DispatchedJob) -> Build | None:
        """How a build that answers for others has ended itself; None where it has not.

        Raises UnavailableError.
        """
        try:
            build, complete = await self._fold(
                child, await self._nomad.job(child.nomad_job_id, child.namespace)
            )
        except NotFoundError:
            return None
        return build if build.status.final and complete else None

    async def _get(self, child: DispatchedJob, *, alone: bool) -> Build:
        """The build; `alone`, where it is asked for by one that answers for several."""
        if kept := self._final.get(child.job_id):
            return kept
        try:
            self._check_ours(child)
            job = await self._nomad.job(child.nomad_job_id, child.namespace)
        except NotFoundError:
            return await self._forgotten(child, alone=alone)
        build, complete = await self._fold(child, job)
        if build.status.final and not complete:
            try:
                return await self._forgotten(child, alone=alone)
            except UnknownBuildError:
                return _uncertain(build)
        if image_index.others(build.config):
            build = await self._with_others(build, alone=alone)
        return self._final.put(child.job_id, build) if build.status.final else build

    async def _with_others(self, build: Build, *, alone: bool) -> Build:
        if alone:  # a dispatch by hand may name any build, this one too
            raise UnknownBuildError.of(build.job_id)
        found = image_index.others(build.config)
        others = await asyncio.gather(*(self._other(build, one) for one in found))
        return combine(build, (build.config or {})[image_index.FIELD]["platforms"], others)

    async def _other(self, build: Build, named: Mapping[str, Any]) -> Other:
        """One of the builds that a build answers for. Somebody else's counts as none."""
        found: Build | None = None
        with contextlib.suppress(UnknownBuildError):
            found = await self._get(self.parse(named["job_id"]), alone=True)
        if found and _whose(found) != _whose(build):
            found = None
        return Other(named["job_id"], tuple(named["platforms"]), found)

    def _check_ours(self, child: DispatchedJob) -> None:
        if child.namespace != self._namespace or child.parent not in self._parents:
            raise NotFoundError(child.nomad_job_id)

    async def _forgotten(self, child: DispatchedJob, *, alone: bool) -> Build:
        """A build that Nomad does not have any more, or its node."""
        # Several deployments may share one Consul: the others' builds do not exist here.
        if not child.job_id.startswith(self._begin):
            raise UnknownBuildError.of(child.job_id)
        if record := await self._history.get(child.job_id):
            return self._final.put(child.job_id, record.build)
        if child.parent in self._parents and (own := await self._history.waiting(child.job_id)):
            return await self._with_others(own, alone=alone)
        raise UnknownBuildError.of(child.job_id)

    async def _fold(self, child: DispatchedJob, job: dict[str, Any]) -> tuple[Build, bool]:
        """The build, and whether everything that a final build should have could be read."""
        namespace = child.namespace
        allocations = await self._nomad.allocations(child.nomad_job_id, namespace)
        decides = fold.deciding_allocation(allocations)
        evaluations: list[dict[str, Any]] = []
        queue: list[dict[str, Any]] = []
        results: dict[str, dict[str, Any]] = {}
        outcome, complete = None, True
        if decides is not None:
            if fold.is_over(decides) and fold.outcome_counts(decides):
                outcome = await self._outcome(decides["ID"])
                complete = outcome is not None
            if outcome is None:
                results = await self._phase_results(decides)
        if decides is None or fold.may_be_placed_again(decides, outcome):
            evaluations = await self._nomad.evaluations(child.nomad_job_id, namespace)
            if placement.blocked(evaluations):
                queue = await self._queue(namespace)
        return fold.fold(
            fold.Facts(
                job_id=child.job_id,
                job=job,
                config=shown_config(job),
                allocations=allocations,
                evaluations=evaluations,
                queue=queue,
                results=results,
                outcome=outcome,
                secret_wait=self._secret_wait,
            )
        ), complete

    async def _queue(self, namespace: str) -> list[dict[str, Any]]:
        """The evaluations of builds that wait for a node."""
        return [
            one
            for one in await self._nomad.blocked_evaluations(namespace)
            if one["JobID"].partition("/")[0] in self._parents
        ]

    async def _outcome(self, alloc_id: str) -> dict[str, Any] | None:
        raw = await self._files.read(
            alloc_id, f"{fold.FINISH}/local/{OUTCOME_FILE}", limit=MAX_RESULT_BYTES + 1
        )
        try:
            return None if raw is None else parse_outcome(raw, alloc_id=alloc_id)
        except ValueError:
            return None  # a `finish` that ended well writes a valid one

    async def _phase_results(self, allocation: fold.Json) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for phase in PHASES:
            state = fold.task_state(allocation, phase)
            if state.get("State") != "dead":
                continue
            key = (allocation["ID"], phase)
            result = self._results.get(key) or await self._phase_result(*key)
            if result is not None:
                found[phase] = self._results.put(key, result)
        return found

    async def _phase_result(self, alloc_id: str, phase: str) -> dict[str, Any] | None:
        raw = await self._files.read(
            alloc_id, f"alloc/{phase_result_path(phase)}", limit=MAX_RESULT_BYTES + 1
        )
        try:
            return None if raw is None else parse_phase_result(raw, phase=phase, alloc_id=alloc_id)
        except ValueError:
            return None  # a build can write there: `finish` decides what a bad one means


def _whose(build: Build) -> Any:
    return (build.config or {}).get("owner")


def _uncertain(build: Build) -> Build:
    """A build whose outcome cannot be read: not final until its node has had time to answer."""
    if seconds_between(build.finished_at or utc_now(), utc_now()) > _PATIENCE:
        return build
    return replace(
        build,
        status=Status.PUBLISHING,
        failure=None,
        finished_at=None,
        message=(f"the build has ended, but its outcome cannot be read from node {build.node} yet"),
    )


def shown_config(job: dict[str, Any]) -> dict[str, Any] | None:
    """The request that a job was dispatched with, fit to show; None where it cannot be read.

    Values that people use for secrets against all advice are left out.
    """
    if (config := _request(job)) is None:
        return None
    config["build_args"] = dict.fromkeys(config["build_args"], _HIDDEN)
    config["test"] = config["test"] | {"env": dict.fromkeys(config["test"]["env"], _HIDDEN)}
    config["webhook_headers"] = dict.fromkeys(config["webhook_headers"], _HIDDEN)
    if config["patch"]:
        config["patch"] = patch.digest(config["patch"])
    if index := config.get(image_index.FIELD):
        config[image_index.FIELD] = index | {"id": _HIDDEN}
    if config["webhook_url"]:  # its path is the secret of many a chat service
        config["webhook_url"] = f"{parse_url(config['webhook_url']).shown}/{_HIDDEN}"
    return config


def _request(job: dict[str, Any]) -> dict[str, Any] | None:
    payload = base64.b64decode(job.get("Payload") or "")
    try:
        return request.read(payload, job.get("Meta") or {})
    except request.RequestError:
        return None
