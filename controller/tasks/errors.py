"""Why a phase ends early. One root, so that a phase can catch all of them and nothing else."""

from __future__ import annotations

TYPE_CHECKING = False  # also imported while Git waits for an answer: see `askpass`
if TYPE_CHECKING:
    from typing import Any


class PhaseEnded(Exception):  # noqa: N818  not every end is an error
    """A phase ended before its work was done."""


class PhaseFailed(PhaseEnded):
    """The phase failed for one of the reasons in `controller.contract.reasons`.

    `details` are the optional fields of a failure: step, dockerfile_line, command, exit_code, hint.
    """

    def __init__(self, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details


class DeadlinePassed(PhaseEnded):
    """The phase ran out of its time. The phase turns it into its own timeout reason."""


class Stopped(PhaseEnded):
    """Nomad asked the task to end (job stopped, node drained, or another task failed)."""
