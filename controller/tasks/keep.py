"""Task `keep`: push the image of a build whose tests failed, so that a person can look into it.

A poststop task beside `finish`: the last line of untrusted code has ended. It reads one credential,
that of the intermediate repository, and pushes to that repository only, under the build's own name.
Whatever goes wrong is a warning in the outcome and never the build's result. Nomad cannot stop a
poststop task, so it is bounded in time.
"""

from __future__ import annotations

from typing import Any

from controller.contract.results import failure
from controller.tasks import intermediate
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.phase import Phase, read_request
from controller.tasks.process import Deadline


def read(environment: TaskEnvironment) -> dict[str, Any]:
    """The request; empty where it is invalid, which is for the build phase to report."""
    try:
        return read_request(environment)
    except PhaseFailed:
        return {}


def work(phase: Phase) -> str:
    """Push the image if it is to be kept; fills digest, or `problem`."""
    try:
        why = intermediate.wanted(phase.environment, phase.request) if phase.request else ""
        if not why:
            return "skipped"
        phase.log.say(f"the image is kept: {why}")
        phase.deadline = Deadline.after(intermediate.PUSH_SECONDS)
        # Here: most builds keep nothing, and `finish` beside this one shall not wait for imports.
        from controller.tasks import kept_image

        phase.fields["digest"] = kept_image.push(phase)
    except PhaseFailed as error:
        _warn(phase, error)
    except DeadlinePassed:
        _warn(phase, PhaseFailed("RegistryUnavailable", "the push did not end in time"))
    except OSError as error:
        _warn(phase, PhaseFailed("NodeNotPrepared", str(error)))
    finally:
        phase.environment.identity_file.unlink(missing_ok=True)
    return "succeeded"


def _warn(phase: Phase, error: PhaseFailed) -> None:
    message = phase.redactor.redact(error.message)
    phase.log.say(f"warning: the image is not kept: {error.reason}: {message}")
    phase.fields["problem"] = failure("keep", error.reason, message)
