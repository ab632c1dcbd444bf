"""Pushing an image that is kept to the intermediate repository, for `keep`."""

from __future__ import annotations

from controller.contract import image_names
from controller.tasks.errors import PhaseFailed
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.phase_results import read_result
from controller.tasks.registries.destinations import SECRET, destination_of
from controller.tasks.registries.image_push import ImagePush
from controller.tasks.registries.registry import login
from controller.tasks.registries.tries import Tries
from controller.tasks.vault import VaultSession


def push(phase: Phase) -> str:
    """Push it under the build's own name; its digest. Raises PhaseFailed, DeadlinePassed."""
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
