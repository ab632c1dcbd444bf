"""Intermediate images: which builds keep theirs, and what `finish` says of it.

An image is kept when the request asks for it, or when its tests or its publishing failed. It goes
to the pack's `intermediate_repository` with the job_id as tag, never under a tag of the request.
Task `keep` pushes it, `finish` waits for that with an end in sight: both run after the last of the
phases, at the same time, and only what is here is known to both.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from typing import Any

from controller.contract import image_names
from controller.contract.results import failure
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase_results import read_result
from controller.tasks.untrusted_files import directory

PUSH_SECONDS = 600
_START_SECONDS = 30  # in which Nomad has started `keep`, or will not
_POLL = 0.05


def wanted(environment: TaskEnvironment, request: Mapping[str, Any]) -> str:
    """Why the build's image is kept, in words; empty where it is not. Raises PhaseFailed."""
    if not environment.intermediate_repository:
        return ""
    build, test, publish = (read_result(environment, name) for name in ("build", "test", "publish"))
    if build is None or build["status"] != "succeeded" or not build.get("image_id"):
        return ""
    if any(result and result["status"] == "killed" for result in (test, publish)):
        return ""
    if request["keep_intermediate"]:
        return "the request asks for it"
    if environment.keep_failed:
        if test is None or test["status"] == "failed":
            return "its tests failed"
        if publish and publish["status"] == "failed":
            return "it could not be published"
    return ""


def kept(environment: TaskEnvironment, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """What became of the image, for the outcome, once `keep` has ended; None: none was to be kept.

    The name is the one that it must have, whatever a result says.
    """
    try:
        if not wanted(environment, request):
            return None
        result = _await_result(environment)
    except PhaseFailed as error:
        return {"problem": failure("keep", error.reason, error.message)}
    if result is None:
        why = (
            "task keep left no result in time; its events in Nomad and the file "
            "keep/local/keep.log of the allocation say more"
        )
        return {"problem": failure("keep", "PublishFailed", why)}
    if problem := result.get("problem") or result.get("failure"):
        return {"problem": problem}
    if not result.get("digest"):
        return {"problem": failure("keep", "TamperedResult", "task keep named no digest")}
    reference = image_names.intermediate(environment.intermediate_repository, environment.job_id)
    return {"reference": reference, "digest": result["digest"]}


def tampering(environment: TaskEnvironment) -> str:
    """What `keep` found planted and took away before `finish` could see it; empty for nothing."""
    if not environment.intermediate_repository:
        return ""
    try:
        found = (_await_result(environment) or {}).get("failure") or {}
    except PhaseFailed as error:
        return error.message
    return str(found["message"]) if found.get("reason") == "TamperedResult" else ""


def _await_result(environment: TaskEnvironment) -> dict[str, Any] | None:
    begun = time.monotonic()
    while True:
        if (result := read_result(environment, "keep")) is not None:
            return result
        waited = time.monotonic() - begun
        if waited > PUSH_SECONDS + _START_SECONDS:
            return None
        if waited > _START_SECONDS and not _started(environment):
            return None
        time.sleep(_POLL)


def _started(environment: TaskEnvironment) -> bool:
    try:
        with directory(environment.alloc_dir, "data", "nbs", "logs") as logs:
            return stat.S_ISREG(os.lstat("keep.log", dir_fd=logs).st_mode)
    except OSError:
        return False
