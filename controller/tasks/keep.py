"""Task `keep`: push the image of a build whose tests failed, so that a person can look into it.

A poststop task beside `finish`: the last line of untrusted code has ended. It reads one credential,
that of the intermediate repository, and pushes to that repository only, under the build's own name.
Whatever goes wrong is a warning in the outcome and never the build's result. Nomad cannot stop a
poststop task, so it is bounded in time.
"""

from __future__ import annotations

from typing import Any

from controller.contract import image_names
from controller.contract.results import failure
from controller.tasks import intermediate
from controller.tasks.destinations import SECRET, destination_of
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.image_push import ImagePush
from controller.tasks.phase import Phase, read_request
from controller.tasks.phase_results import read_result
from controller.tasks.process import Deadline
from controller.tasks.registry import login
from controller.tasks.storage import OwnerStorage
from controller.tasks.tries import Tries
from controller.tasks.vault import VaultSession


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
        phase.fields["digest"] = _push(phase)
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


def _push(phase: Phase) -> str:
    environment = phase.environment
    with VaultSession(environment, phase.redactor) as vault:
        path = environment.intermediate_credentials_path
        credential = vault.read(path, SECRET) if path else {}
    place = destination_of(environment, environment.intermediate_repository, credential)
    build = read_result(environment, "build")
    if build is None or not build.get("image_id"):
        raise PhaseFailed("TamperedResult", "the build's result is gone")
    reference = image_names.intermediate(place.repository, environment.job_id)
    tag = reference.removeprefix(f"{place.repository}:")
    storage = OwnerStorage(environment, phase.request)
    with storage.in_use(), login(environment.secrets_dir, place.credential) as authfile:
        manifest = ImagePush(phase, storage, authfile).push(build, place)
    Tries(phase.log, phase.deadline)(
        f"giving {reference}", lambda: place.api.put_manifest(tag, manifest)
    )
    phase.log.say(f"kept {reference}@{manifest.digest}")
    return manifest.digest
