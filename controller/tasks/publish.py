"""Phase `publish`: push the tested image by its digest, verify it, and give it every tag or none.

Runs as the allocation's main task, which Nomad starts only after `build` and `test` succeeded. Its
credentials come into being here, when the last line of untrusted code has ended. Of what earlier
phases left it takes the image's ID, the commit and what they report of the sources, checked by
form.
"""

from __future__ import annotations

from typing import Any

from controller.contract.image_index import FIELD as IMAGE_INDEX
from controller.contract.patch import default_tag
from controller.tasks.errors import PhaseFailed
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.phase_results import read_result
from controller.tasks.registries.destinations import Destination, destinations
from controller.tasks.registries.image_push import ImagePush
from controller.tasks.registries.joined_index import JoinedIndex
from controller.tasks.registries.registry import login
from controller.tasks.registries.registry_api import Manifest
from controller.tasks.registries.tagging import Tagging
from controller.tasks.registries.tries import Tries
from controller.tasks.supply_chain.attestations import Attestations
from controller.tasks.vault import VaultSession


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
            images = ImagePush(self._phase, self._storage, authfile)
            manifest = images.push(build, first)
            for place in others:
                images.copy(first, place, manifest.digest)
        self._phase.fields.update(image=first.repository, digest=manifest.digest, references=[])
        self._phase.fields["referrers"] = attestations.attach(self._places, manifest)
        if IMAGE_INDEX in self._phase.request:
            self._join(build, manifest, attestations)
        else:
            self._tag(build, manifest)

    def _join(self, build: dict[str, Any], manifest: Manifest, attestations: Attestations) -> None:
        """Publish the index if the other platforms' builds have pushed their images too."""
        joined, fields = JoinedIndex(self._phase, self._places, build["commit"]), self._phase.fields
        joined.offer(manifest)
        index = joined.publish()
        if index is None:
            return
        fields["digest"] = index.digest
        fields["referrers"] += attestations.attach(self._places, index, joined=True)
        self._tag(build, index)
        joined.withdraw()

    def _tag(self, build: dict[str, Any], manifest: Manifest) -> None:
        request, fields = self._phase.request, self._phase.fields
        names = request["image_tags"] or [default_tag(build["commit"], request["patch"])]
        tagging = Tagging(self._places, names, manifest, self._phase.log, self._phase.deadline)
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
