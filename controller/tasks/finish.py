"""Task `finish`: after success, failure and kill alike, the outcome and the cleanup.

A poststop task cannot be stopped by Nomad, so everything here is bounded in time. The outcome is
written into the task's own directory, where no earlier task could plant one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from datetime import UTC, datetime
from typing import Any

from controller.contract.log_line import utc
from controller.contract.results import (
    MAX_RESULT_BYTES,
    OUTCOME_FILE,
    PHASES,
    SCHEMA,
    failure,
    phase_log_path,
)
from controller.tasks import intermediate
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.isolation.run_mounts import DIRECTORY
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import read_request
from controller.tasks.phase_results import of_bounded_size, read_result
from controller.tasks.untrusted_files import directory, remove, write_json

_KEPT_FIELDS = (
    "commit",
    "source",
    "patch",
    "steps",
    "cache",
    "commands",
    "image",
    "digest",
    "references",
    "tags",
    "referrers",
)


def run(environment: TaskEnvironment) -> int:
    """Write the outcome, then clean up. 0 means that the outcome counts."""
    outcome = _outcome(environment)
    outcome["intermediate"] = _intermediate(environment)
    with directory(environment.task_dir) as own:
        write_json(own, OUTCOME_FILE, of_bounded_size(outcome, MAX_RESULT_BYTES))
    print(f"outcome: {outcome['status']}", flush=True)
    try:
        problems = _clean(environment)
    except Exception as error:  # the outcome stands, whatever was left to trip the cleanup up
        problems = [f"{type(error).__name__}: {error}"]
    for problem in problems:
        print(f"cleanup: {problem}", file=sys.stderr, flush=True)
    return 0


def _outcome(environment: TaskEnvironment) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "schema": SCHEMA,
        "job_id": environment.job_id,
        "alloc_id": environment.alloc_id,
        "status": "KILLED",
        "commit": None,
        "image": None,
        "digest": None,
        "references": [],
        "phases": {},
        "failure": None,
        "logs": _log_sizes(environment),
    }
    failures: list[dict[str, Any]] = []
    stopped_in = "build"
    for phase in PHASES:
        try:
            result = read_result(environment, phase)
        except PhaseFailed as error:
            failures.append(failure(phase, error.reason, error.message))
            continue
        if result is None:
            continue
        outcome["phases"][phase] = {
            key: result.get(key)
            for key in (
                "status",
                "started_at",
                "finished_at",
                "duration_seconds",
                "log_lines_dropped",
            )
        }
        outcome.update({key: result[key] for key in _KEPT_FIELDS if result.get(key) is not None})
        if result["status"] == "failed":
            failures.append(result["failure"])
        if result["status"] in ("succeeded", "skipped"):
            stopped_in = PHASES[min(PHASES.index(phase) + 1, 2)]
    published = outcome["phases"].get("publish", {}).get("status") == "succeeded"
    if published and not failures:
        outcome["status"] = "SUCCEEDED"
    elif failures:
        outcome.update(status="FAILED", failure=failures[0])
    elif planted := intermediate.tampering(environment):
        outcome.update(status="FAILED", failure=failure(stopped_in, "TamperedResult", planted))
    else:
        outcome["failure"] = failure(
            stopped_in, "Killed", f"the build was stopped in phase {stopped_in}"
        )
    outcome["finished_at"] = utc(datetime.now(UTC))
    return outcome


def _intermediate(environment: TaskEnvironment) -> dict[str, Any] | None:
    try:
        return intermediate.kept(environment, read_request(environment))
    except PhaseFailed:  # a request that is invalid: nothing was built
        return None


def _log_sizes(environment: TaskEnvironment) -> dict[str, Any]:
    sizes = {}
    for phase in PHASES:
        *folders, name = phase_log_path(phase).split("/")
        try:
            with directory(environment.alloc_dir, *folders) as logs:
                status = os.lstat(name, dir_fd=logs)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            sizes[phase] = {"bytes": status.st_size}
    return sizes


def _clean(environment: TaskEnvironment) -> list[str]:
    """Remove what the build left on the node; what could not be removed."""
    problems: list[str] = []
    for task in PHASES:
        # Only where the tasks of an allocation share a file system (raw_exec) is there anything.
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            directory(environment.alloc_dir.parent, task, "secrets") as secrets,
        ):
            for leftover in ("nomad_vault.jwt", "registry-auth.json", "git", DIRECTORY):
                problems += remove(secrets, leftover)
    try:
        request = read_request(environment)
        storage = OwnerStorage(environment, request)
        if not storage.scratch.exists():
            return problems
        sandbox = Sandbox(storage.env(), driver=environment.driver)
        with storage.in_use():
            storage.remove_containers(sandbox)
            storage.remove_scratch(sandbox)
        if storage.scratch.exists():
            problems.append(f"{storage.scratch} could not be removed")
    except PhaseFailed as error:
        if error.reason != "InvalidRequest":  # such a build never had a storage
            problems.append(error.message)
    except DeadlinePassed:
        problems.append("removing what the build left took too long; image-prune will do it")
    except OSError as error:
        problems.append(str(error))
    return problems
