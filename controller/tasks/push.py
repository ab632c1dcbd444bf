"""Task `push` of a check: may the credentials push to the repositories? Nothing is left there.

An upload is begun, as every push begins, and cancelled: registries ask for the right to push at
that point (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push).
Fills `problem` where it may not.
"""

from __future__ import annotations

from controller.contract.results import failure
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.registries.destinations import destinations
from controller.tasks.vault import VaultSession


def work(phase: Phase) -> str:
    """Try; what is wrong goes into the result."""
    try:
        with VaultSession(phase.environment, phase.redactor) as vault:
            wanted = destinations(phase.environment, phase.request, vault)
        for one in wanted:
            one.api.may_push()
            phase.log.say(f"pushing to {one.repository} is allowed")
    except PhaseFailed as error:
        phase.log.say(f"{error.reason}: {error.message}")
        phase.fields["problem"] = failure(
            "check", error.reason, phase.redactor.redact(error.message), **error.details
        )
    return "succeeded"
