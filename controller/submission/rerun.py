"""Tests or publishes the image of an earlier build again; nothing is rebuilt.

A rerun is a build of its own, dispatched with the earlier build's request and a reference to its
image by digest. Which image that is comes from the record of the earlier build alone: callers name
a build, and one of their own at that (`operation.admit` sees to it).
"""

from __future__ import annotations

import hashlib
from typing import Any

from controller.contract import image_index, image_names
from controller.contract.rerun import FIELD
from controller.errors import NotRepeatableError
from controller.settings import Settings
from controller.status.build import Build, Status
from controller.status.builds import Builds
from controller.submission.dispatch import Dispatch, Submission

_SUBMIT = "submitJob builds it anew"


class Reruns:
    """Starts reruns."""

    def __init__(self, settings: Settings, builds: Builds, dispatch: Dispatch) -> None:
        self._repository = settings.intermediate_repository
        self._builds = builds
        self._dispatch = dispatch

    async def begin(self, job_id: str, phase: str, idempotency_key: str | None) -> Submission:
        """Dispatch a rerun from `phase` on. A repeat with the same key gives the same one.

        Raises UnknownBuildError, NotRepeatableError and what a submission raises.
        """
        build = await self._builds.get(job_id)
        if build.failed_in != build.job_id:  # of one architecture: that one is to be mended
            build = await self._builds.get(build.failed_in)
        _check(build, phase)
        image = self._image(build)
        document = await self._document(build)
        if index := document.get(image_index.FIELD):
            if build.status is Status.SUCCEEDED and build.references:
                # Its image is the index, which one build can publish, if not run.
                _check_whole(build, phase)
                del document[image_index.FIELD]
            else:
                _check_others(build)
                mark = {"id": index["id"], "platforms": index["platforms"]}
                document[image_index.FIELD] = mark
        document |= {
            "idempotency_key": idempotency_key,
            FIELD: {"job_id": build.job_id, "phase": phase, "commit": build.commit, **image},
        }
        return await self._dispatch.again(document, _token(document, idempotency_key))

    def _image(self, build: Build) -> dict[str, str]:
        whole = build.status is Status.SUCCEEDED and build.platform_jobs
        kept = {} if whole else build.intermediate or {}  # kept is an image of one platform
        reference = self._repository and image_names.intermediate(self._repository, build.job_id)
        if kept.get("digest") and kept.get("reference") == reference:
            repository, _, tag = str(reference).rpartition(":")
            return {"image": repository, "tag": tag, "digest": kept["digest"]}
        if build.status is Status.SUCCEEDED and build.image and build.digest:
            return {"image": build.image, "digest": build.digest}
        raise NotRepeatableError(
            f"the image of build {build.job_id} was not kept",
            f"{_SUBMIT}; keep_intermediate keeps the image",
        )

    async def _document(self, build: Build) -> dict[str, Any]:
        """The earlier request, whole; the record has it without the values that are hidden."""
        if given := await self._builds.request(self._builds.parse(build.job_id)):
            return given
        config = dict(build.config or {})
        hidden = [
            name
            for name, value in (
                ("test.env", (config.get("test") or {}).get("env")),
                ("patch", config.get("patch")),
                ("image_index", image_index.FIELD in config and not build.references),
                ("webhook_url", config.get("webhook_url")),
            )
            if value
        ]
        if hidden or not config:
            lost = " and ".join(hidden) or "request"
            raise NotRepeatableError(
                f"Nomad has forgotten build {build.job_id}, and the history does not keep its "
                f"{lost}",
                _SUBMIT,
            )
        return config | {"build_args": {}, "webhook_headers": {}}


def _check(build: Build, phase: str) -> None:
    if not build.status.final:
        raise NotRepeatableError(
            f"build {build.job_id} is {build.status}", "wait for its end: waitForJob"
        )
    if build.phases["build"].status != "succeeded" or not build.commit:
        raise NotRepeatableError(f"build {build.job_id} has built no image", _SUBMIT)
    tested = build.phases["test"].status
    if phase == "publish" and tested not in ("succeeded", "skipped"):
        raise NotRepeatableError(
            f"the tests of build {build.job_id} are {tested}: its image cannot be published",
            "run its tests again: phase test, which publishes the image if they pass",
        )
    test = (build.config or {}).get("test") or {}
    if phase == "test" and not (test.get("commands") or test.get("entry_point")):
        raise NotRepeatableError(f"build {build.job_id} has no tests", "publish it: phase publish")


def _check_whole(build: Build, phase: str) -> None:
    if phase == "test" and build.platform_jobs:
        jobs = " and ".join(one["job_id"] for one in build.platform_jobs)
        raise NotRepeatableError(
            f"build {build.job_id} has an image for each of several architectures",
            f"test that of one of them: job_id {jobs}",
        )


def _check_others(build: Build) -> None:
    """Its image alone is not published: those of the other architectures must come too."""
    gone = [one for one in build.platform_jobs if one["status"] == Status.CANCELLED]
    if gone:
        platforms = " and ".join(" and ".join(one["platforms"]) for one in gone)
        raise NotRepeatableError(
            f"the build for {platforms} was stopped, and without its image nothing is published",
            _SUBMIT,
        )


def _token(document: dict[str, Any], key: str | None) -> str | None:
    if key is None:
        return None
    return hashlib.sha256(f"rerun\0{document['owner']}\0{key}".encode()).hexdigest()
