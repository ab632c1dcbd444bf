"""Phase `build` of a rerun: the image of an earlier build is fetched, and nothing is built.

The image comes by digest. That of an intermediate repository is also what the earlier build's own
tag names there, so that a digest which got into that build's results by a trick is not taken.
"""

from __future__ import annotations

from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.isolation.platforms import NATIVE
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.process import duration
from controller.tasks.registries import base_images
from controller.tasks.registries.registry import Registry, host_of, login
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)
_PULL_SECRET = (("registry", "username", "password"),)


def work(phase: Phase, storage: OwnerStorage) -> str:
    """Fetch the image; fills commit, source, image_id, images. Raises PhaseFailed."""
    try:
        return _fetch(phase, storage)
    except DeadlinePassed:
        raise PhaseFailed(
            "BuildTimeout",
            f"timed out after {duration(phase.deadline.seconds)} while fetching the image",
        ) from None


def _fetch(phase: Phase, storage: OwnerStorage) -> str:
    rerun = phase.request["rerun"]
    image = f"{rerun['image']}@{rerun['digest']}"
    phase.log.say(f"phase {rerun['phase']} of {rerun['job_id']} again: nothing is built")
    phase.fields.update(commit=rerun["commit"], source=phase.request["repo_url"])
    credential = _credential(phase, rerun["image"])
    with login(phase.environment.secrets_dir, credential) as authfile:
        registry = Registry(storage.env(), authfile, phase.log, phase.deadline)
        if failed := registry.unreachable(image):
            if failed.reason != "BaseImageNotFound":
                raise failed
            raise PhaseFailed(
                "ImageGone", f"the image of {rerun['job_id']} is no longer in its registry: {image}"
            )
        if rerun.get("tag"):
            registry.verify(f"{rerun['image']}:{rerun['tag']}", rerun["digest"])
        sandbox = Sandbox(storage.env(), driver=phase.environment.driver)
        pull = base_images.Pull(phase, storage, sandbox)
        platforms = phase.request["platforms"]
        # Buildah prints an ID without its algorithm.
        images = {one: f"sha256:{pull.one(image, one, authfile)}" for one in platforms or [NATIVE]}
    phase.fields["image_id"] = next(iter(images.values()))
    if platforms:
        phase.fields["images"] = images
    return "succeeded"


def _credential(phase: Phase, repository: str) -> dict[str, str]:
    """For pulling, read and given back before anything untrusted runs."""
    environment = phase.environment
    with VaultSession(environment, phase.redactor) as vault:
        own = environment.intermediate_pull_credentials_path
        if own and repository == environment.intermediate_repository:
            return vault.read(own, _SECRET) | {"registry": host_of(repository)}
        if environment.pull_credentials_path:
            return vault.read(environment.pull_credentials_path, _PULL_SECRET)
    return {}
