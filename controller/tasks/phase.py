"""The frame around every phase: signals, log, result file, exit code.

A phase is a function that does its work, fills in what its result holds beyond the common fields,
and returns its status; whatever it raises becomes a failure with a reason. The result is written
whole or not at all, last, and a phase that was stopped says so.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from controller.contract import image_index
from controller.contract import request as contract_request
from controller.contract.log_line import utc
from controller.contract.results import SCHEMA, failure
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed, Stopped
from controller.tasks.isolation.memory_limit import limited
from controller.tasks.node.disk import DiskFloor
from controller.tasks.phase_log import PhaseLog
from controller.tasks.phase_results import of_bounded_size
from controller.tasks.process import Deadline
from controller.tasks.redaction import Redactor
from controller.tasks.untrusted_files import (
    create,
    directory,
    may_be_directory,
    only_plain,
    remove,
    write_json,
)

_QUOTED_LINES, _QUOTED_CHARACTERS = 40, 2000  # of the log, in a failure


@dataclass(slots=True)
class Phase:
    """What a phase's work gets: its surroundings, the request, the log, and its time.

    `fields` go into the phase's result, also when the phase fails halfway. `started` may be moved
    by a phase that first had to wait for another.
    """

    name: str
    environment: TaskEnvironment
    request: dict[str, Any]
    log: PhaseLog
    redactor: Redactor
    deadline: Deadline
    fields: dict[str, Any]
    started: datetime


Work = Callable[[Phase], str]
ReadRequest = Callable[[TaskEnvironment], dict[str, Any]]


def run(
    name: str, environment: TaskEnvironment, work: Work, read: ReadRequest | None = None
) -> int:
    """Run one phase; the task's exit code (0: go on, 1: the build has failed).

    `work` returns the phase's status: `succeeded` or `skipped`. `read` reads the request where it
    is not one for a build.
    """
    _stop_by_exception()
    redactor = Redactor()
    log_file, planted = _log_file(name, environment)
    log = PhaseLog(log_file, environment.log_max_bytes, redactor)
    phase = Phase(
        name,
        environment,
        {},
        log,
        redactor,
        Deadline.after(environment.publish_timeout),
        {},
        datetime.now(UTC),
    )
    failed: dict[str, Any] | None = None
    try:
        if planted:
            environment.identity_file.unlink(missing_ok=True)
            raise PhaseFailed("TamperedResult", planted)
        phase.request = (read or read_request)(environment)
        floor = DiskFloor(environment.storage_dir, environment.disk_floor_bytes)
        phase.deadline = Deadline.after(
            _seconds(name, phase.request, environment),
            # Publishing writes little, and frees the node of the build.
            floor.check if name in ("build", "test") else None,
        )
        if name == "build":  # of phase test, the tests alone are what the request limits
            phase.deadline = limited(phase.deadline, phase.request, name)
        status = work(phase)
    except PhaseFailed as error:
        status, failed = "failed", _failure(name, log, redactor, error)
    except DeadlinePassed:
        status, failed = (
            "failed",
            _failure(
                name,
                log,
                redactor,
                PhaseFailed("RegistryUnavailable", "the registry did not answer in time"),
            ),
        )
    except Stopped:
        status = "killed"
        failed = failure(name, "Killed", "the build was stopped")
    except OSError as error:
        status, failed = "failed", _failure(name, log, redactor, _from_os_error(error))
    except Exception as error:  # the last line of defence: report, never vanish
        log.say(traceback.format_exc())
        status, failed = (
            "failed",
            _failure(
                name,
                log,
                redactor,
                PhaseFailed("InternalError", f"{type(error).__name__}: {error}"),
            ),
        )
    _say_end(log, name, status, failed)
    log.close()
    finished = datetime.now(UTC)
    result = {
        "schema": SCHEMA,
        "job_id": environment.job_id,
        "alloc_id": environment.alloc_id,
        "phase": name,
        "status": status,
        "started_at": utc(phase.started),
        "finished_at": utc(finished),
        "duration_seconds": round((finished - phase.started).total_seconds(), 3),
        "failure": failed,
        "log_lines_dropped": log.dropped,
        **phase.fields,
    }
    try:
        with directory(environment.alloc_dir, "data", "nbs") as results:
            write_json(results, f"{name}.json", of_bounded_size(result))
    except OSError as error:  # planted there: `finish` finds no result, and says so
        print(f"the result cannot be written: {error}", file=sys.stderr, flush=True)
        return 1
    return 0 if status in ("succeeded", "skipped") else 1


def _log_file(name: str, environment: TaskEnvironment) -> tuple[int, str]:
    """The log, open for writing, and what was planted where it belongs, in words.

    Where an earlier task has put links or the like among the phases' files, all of that is removed
    at once: people read these files through Nomad, which follows links within an allocation, and
    this task's secrets lie there too. Without a place of its own the log is Nomad's stdout alone.
    """
    found: list[str] = []
    try:
        for above, below in (((), "data"), (("data",), "nbs"), (("data", "nbs"), "logs")):
            with directory(environment.alloc_dir, *above, create=True) as parent:
                if not may_be_directory(parent, below):
                    found += [below, *remove(parent, below)]
        with directory(environment.alloc_dir, "data", "nbs", create=True) as results:
            for planted in only_plain(results, "logs"):
                found += [planted, *remove(results, planted)]
        with directory(environment.alloc_dir, "data", "nbs", "logs", create=True) as logs:
            for planted in only_plain(logs):
                found += [planted, *remove(logs, planted)]
            try:
                file = create(logs, f"{name}.log")
            except FileExistsError:
                found += [f"{name}.log", *remove(logs, f"{name}.log")]
                file = create(logs, f"{name}.log")
    except OSError as error:
        file = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        found.append(f"{error.filename}: {error.strerror}")
    if not found:
        return file, ""
    return file, f"an earlier task left what does not belong there: {', '.join(found)[:500]}"


def read_request(environment: TaskEnvironment) -> dict[str, Any]:
    """The request that this build was dispatched with. Raises PhaseFailed(InvalidRequest)."""
    try:
        payload = environment.request_file.read_bytes()
    except FileNotFoundError:
        payload = None
    try:
        return image_index.own(contract_request.read(payload, environment.meta))
    except contract_request.RequestError as error:
        told = "; ".join(f"{p.field}: {p.problem}" for p in error.problems)
        raise PhaseFailed("InvalidRequest", told) from error


def _seconds(name: str, request: dict[str, Any], environment: TaskEnvironment) -> int:
    if name == "build":
        return int(request.get("build_timeout") or environment.build_timeout)
    if name == "test":
        test = request.get("test") or {}
        return int(test.get("timeout") or request.get("test_timeout") or environment.test_timeout)
    return environment.publish_timeout


def _failure(name: str, log: PhaseLog, redactor: Redactor, error: PhaseFailed) -> dict[str, Any]:
    details: dict[str, Any] = {
        key: redactor.redact(value) if isinstance(value, str) else value
        for key, value in error.details.items()
    }
    return failure(
        name,
        error.reason,
        redactor.redact(error.message),
        log_tail=[line[:_QUOTED_CHARACTERS] for line in list(log.tail)[-_QUOTED_LINES:]],
        **details,
    )


def _from_os_error(error: OSError) -> PhaseFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PhaseFailed("OutOfDisk", f"no space left on the node: {error}")
    return PhaseFailed("NodeNotPrepared", f"{error}")


def _say_end(log: PhaseLog, name: str, status: str, failed: dict[str, Any] | None) -> None:
    if failed:
        log.say(f"{name} {status}: {failed['reason']}: {failed['message']}")
    else:
        log.say(f"{name} {status}")


def _stop_by_exception() -> None:
    """Let the first SIGINT or SIGTERM raise Stopped wherever the phase is; ignore the others."""

    def stop(number: int, frame: FrameType | None) -> None:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    os.umask(0o022)
