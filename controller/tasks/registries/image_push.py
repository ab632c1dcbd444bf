"""Pushing a build's image by its digest, without a tag, and reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.contract.results import DIGEST
from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import diagnosis
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.process import Deadline
from controller.tasks.registries import artifact
from controller.tasks.registries.destinations import Destination
from controller.tasks.registries.registry import Registry
from controller.tasks.registries.registry_api import Manifest
from controller.tasks.registries.stalling import StallGuard
from controller.tasks.registries.tries import Tries, passing

_PUSHES = 4  # Buildah tries once more within each


class ImagePush:
    """Of one phase, with the login of `authfile`. Methods raise PhaseFailed, DeadlinePassed."""

    def __init__(self, phase: Phase, storage: OwnerStorage, authfile: Path) -> None:
        self._phase = phase
        self._log = phase.log
        self._storage = storage
        self._authfile = authfile
        self._tries = Tries(phase.log, phase.deadline)

    def push(self, build: Mapping[str, Any], place: Destination) -> Manifest:
        """Push the image, or those of several platforms and their index."""
        images = build.get("images") or {}
        if len(images) < 2:
            return self._push(build["image_id"], place)
        index = artifact.index(
            {platform: self._push(image_id, place) for platform, image_id in images.items()}
        )
        return put_index(self._tries, place, index)

    def copy(self, source: Destination, place: Destination, digest: str) -> Manifest:
        """Copy what was pushed to one repository into another."""
        target = f"{place.repository}@{digest}"

        def attempt() -> None:
            registry = Registry(self._storage.env(), self._authfile, self._log, self._stall_guard())
            registry.copy(f"{source.repository}@{digest}", target)

        self._log.say(f"copying to {target}")
        Tries(self._log, self._phase.deadline, most=_PUSHES)(f"copying to {target}", attempt)
        return verified(self._tries, place, digest)

    def _push(self, image_id: str, place: Destination) -> Manifest:
        """Push without a tag. `@@unknown-digest@@` is Buildah's word for that.

        (Of a whole manifest list pushed so, Buildah 1.44 does not tell the digest.)
        """
        digestfile = self._phase.environment.task_dir / "digest"
        sandbox = Sandbox(self._storage.env(), driver=self._phase.environment.driver)
        command = self._storage.buildah(
            "push",
            "--quiet",
            "--retry",
            "1",
            "--authfile",
            str(self._authfile),
            "--digestfile",
            str(digestfile),
            image_id,
            f"docker://{place.repository}@@unknown-digest@@",
        )

        def attempt() -> None:
            said: list[str] = []
            code = sandbox.run(
                command,
                lambda stream, text: said.append(self._log.write(stream, text)),
                self._stall_guard(),
            )
            if code:
                raise passing(diagnosis.push_failure(place.repository, said))

        what = f"pushing to {place.repository}"
        self._log.say(what)
        Tries(self._log, self._phase.deadline, most=_PUSHES)(what, attempt)
        digest = digestfile.read_text().strip()
        if not DIGEST.match(digest):
            raise PhaseFailed("PublishFailed", f"buildah reported no digest but {digest[:80]!r}")
        return verified(self._tries, place, digest)

    def _stall_guard(self) -> Deadline:
        seconds = self._phase.environment.registry_stall_seconds
        return StallGuard(seconds).within(self._phase.deadline)


def put_index(tries: Tries, place: Destination, index: Manifest) -> Manifest:
    """Put an index whose images are there already; as the registry serves it then."""
    tries(
        f"pushing the index to {place.repository}",
        lambda: place.api.put_manifest(index.digest, index),
    )
    return verified(tries, place, index.digest)


def verified(tries: Tries, place: Destination, digest: str) -> Manifest:
    """The manifest as the registry serves it: its bytes decide, and no header."""
    reference = f"{place.repository}@{digest}"
    found = tries(f"verifying {reference}", lambda: place.api.manifest(digest))
    if found is None or found.digest != digest:
        what = found.digest if found else "nothing"
        raise PhaseFailed("DigestMismatch", f"{reference} is {what} in the registry")
    return found
