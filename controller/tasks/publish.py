"""Phase `publish`: push the tested image by its digest, verify it, and give it every tag or none.

Runs as the allocation's main task, which Nomad starts only after `build` and `test` succeeded. Its
credentials come into being here, when the last line of untrusted code has ended. Of what earlier
phases left it takes the image's ID, the commit and what they report of the sources, checked by
form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller.contract.patch import default_tag
from controller.contract.results import DIGEST
from controller.tasks import artifact, diagnosis
from controller.tasks.attestations import Attestations
from controller.tasks.destinations import Destination, destinations
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.phase_results import read_result
from controller.tasks.process import Deadline
from controller.tasks.registry import Registry, login
from controller.tasks.registry_api import Manifest
from controller.tasks.sandbox import Sandbox
from controller.tasks.stalling import StallGuard
from controller.tasks.storage import OwnerStorage
from controller.tasks.tagging import Tagging
from controller.tasks.tries import Tries, passing
from controller.tasks.vault import VaultSession

_PUSHES = 4  # Buildah tries once more within each


def work(phase: Phase) -> str:
    """Publish; fills image, digest, references, tags, referrers. Raises PhaseFailed."""
    build = _trusted_build(phase)
    storage = OwnerStorage(phase.environment, phase.request)
    with VaultSession(phase.environment, phase.redactor) as vault:
        places = destinations(phase.environment, phase.request, vault)
        if not phase.environment.signing_key:
            vault.end()  # nothing more is asked of it
        with storage.in_use():
            _Publication(phase, storage, places).run(build, Attestations(phase, build, vault))
    return "succeeded"


class _Publication:
    def __init__(self, phase: Phase, storage: OwnerStorage, places: list[Destination]) -> None:
        self._phase = phase
        self._log = phase.log
        self._storage = storage
        self._places = places
        self._tries = Tries(phase.log, phase.deadline)

    def run(self, build: dict[str, Any], attestations: Attestations) -> None:
        first, *others = self._places
        for place in self._places:
            self._tries(f"asking to push to {place.repository}", place.api.may_push)
        with login(
            self._phase.environment.secrets_dir, *(place.credential for place in self._places)
        ) as authfile:
            digest = self._push(build, first, authfile)
            for place in others:
                self._copy(f"{first.repository}@{digest}", f"{place.repository}@{digest}", authfile)
        manifest, *_ = [self._verified(place, digest) for place in self._places]
        self._phase.fields.update(image=first.repository, digest=digest, references=[])
        self._phase.fields["referrers"] = attestations.attach(self._places, manifest)
        self._tag(build, manifest)

    def _push(self, build: dict[str, Any], place: Destination, authfile: Path) -> str:
        """Push the image, or those of several platforms and their index; the digest."""
        images = build.get("images") or {}
        if len(images) < 2:
            return self._push_one(build["image_id"], place.repository, authfile)
        found = {
            platform: self._verified(place, self._push_one(image_id, place.repository, authfile))
            for platform, image_id in images.items()
        }
        index = artifact.index(found)
        self._tries(
            f"pushing the index to {place.repository}",
            lambda: place.api.put_manifest(index.digest, index),
        )
        return index.digest

    def _push_one(self, image_id: str, repository: str, authfile: Path) -> str:
        """Push without a tag; the digest. `@@unknown-digest@@` is Buildah's word for that.

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
            str(authfile),
            "--digestfile",
            str(digestfile),
            image_id,
            f"docker://{repository}@@unknown-digest@@",
        )

        def attempt() -> None:
            said: list[str] = []
            code = sandbox.run(
                command,
                lambda stream, text: said.append(self._log.write(stream, text)),
                self._stall_guard(),
            )
            if code:
                raise passing(diagnosis.push_failure(repository, said))

        self._log.say(f"pushing to {repository}")
        Tries(self._log, self._phase.deadline, most=_PUSHES)(f"pushing to {repository}", attempt)
        digest = digestfile.read_text().strip()
        if not DIGEST.match(digest):
            raise PhaseFailed("PublishFailed", f"buildah reported no digest but {digest[:80]!r}")
        return digest

    def _copy(self, source: str, destination: str, authfile: Path) -> None:
        def attempt() -> None:
            guard = self._stall_guard()
            Registry(self._storage.env(), authfile, self._log, guard).copy(source, destination)

        self._log.say(f"copying to {destination}")
        Tries(self._log, self._phase.deadline, most=_PUSHES)(f"copying to {destination}", attempt)

    def _stall_guard(self) -> Deadline:
        seconds = self._phase.environment.registry_stall_seconds
        return StallGuard(seconds).within(self._phase.deadline)

    def _verified(self, place: Destination, digest: str) -> Manifest:
        """The manifest as the registry serves it: its bytes decide, and no header."""
        reference = f"{place.repository}@{digest}"
        found = self._tries(f"verifying {reference}", lambda: place.api.manifest(digest))
        if found is None or found.digest != digest:
            what = found.digest if found else "nothing"
            raise PhaseFailed("DigestMismatch", f"{reference} is {what} in the registry")
        return found

    def _tag(self, build: dict[str, Any], manifest: Manifest) -> None:
        request, fields = self._phase.request, self._phase.fields
        names = request["image_tags"] or [default_tag(build["commit"], request["patch"])]
        tagging = Tagging(self._places, names, manifest, self._log, self._phase.deadline)
        try:
            tagging.give_all()
        finally:
            fields["tags"] = [tag.shown() for tag in tagging.tags]
            fields["references"] = tagging.given()


def _trusted_build(phase: Phase) -> dict[str, Any]:
    build = read_result(phase.environment, "build")
    test = read_result(phase.environment, "test")
    if (
        build is None
        or test is None
        or build["status"] != "succeeded"
        or test["status"] not in ("succeeded", "skipped")
    ):
        raise PhaseFailed("TamperedResult", "build and test did not both leave a good result")
    if not build.get("image_id") or not build.get("commit"):
        raise PhaseFailed("TamperedResult", "the build's result names no image or no commit")
    if set(build.get("images") or ()) != set(phase.request["platforms"]):
        raise PhaseFailed("TamperedResult", "the build's result names other platforms than asked")
    return build
