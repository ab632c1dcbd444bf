"""The index of an image whose platforms are built in several allocations.

See `contract.image_index`: each build leaves a note of each image in the first repository, and the
one that finds all of them publishes the index. Every repository has the images by then, because
each build pushes to all of them before it leaves its notes. A note is an index of its one image,
with a seal: a manifest of its own, that can be removed without the image.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from controller.contract import image_index
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.registries import artifact
from controller.tasks.registries.destinations import Destination
from controller.tasks.registries.image_push import put_index, verified
from controller.tasks.registries.registry_api import INDEX, Manifest
from controller.tasks.registries.tries import Tries

_SEAL = "io.nomad-build-service.image-index.seal"


class JoinedIndex:
    """Of one build, as it publishes. Methods raise PhaseFailed, DeadlinePassed."""

    def __init__(self, phase: Phase, places: Sequence[Destination], commit: str) -> None:
        self._index: Mapping[str, Any] = phase.request[image_index.FIELD]
        self._commit = commit
        self._phase = phase
        self._places = places
        self._own: list[str] = list(self._index["platforms"])
        self._all: list[str] = list(self._index["of"])
        self._tags = {one: image_index.tag(self._index, commit, one) for one in self._all}
        self._images: dict[str, Manifest] = {}
        self._notes: dict[str, Manifest] = {}
        self._tries = Tries(phase.log, phase.deadline)

    def offer(self, image: Manifest) -> None:
        """Let the other builds find what this one has pushed: an image, or an index of several."""
        first = self._places[0]
        parts = artifact.platforms(image)
        for platform in self._own:
            digest = parts[platform if len(self._own) > 1 else ""]["digest"]
            self._images[platform] = part = verified(self._tries, first, digest)
            self._notes[platform] = note = self._note(platform, part)
            reference = f"{first.repository}:{self._tags[platform]}"
            self._tries(
                f"giving {reference}",
                partial(first.api.put_manifest, self._tags[platform], note),
            )
            self._phase.log.say(f"the image for {platform} waits as {reference}")

    def publish(self) -> Manifest | None:
        """Put the index into every repository if the images of all platforms are there."""
        for platform in self._all:
            if platform not in self._images:
                self._find(platform)
        if missing := [one for one in self._all if one not in self._images]:
            self._phase.log.say(
                f"{' and '.join(missing)} not there yet: the build that is last publishes the index"
            )
            return None
        index = artifact.index({one: self._images[one] for one in self._all})
        for place in self._places:
            self._phase.log.say(f"pushing the index to {place.repository}")
            put_index(self._tries, place, index)
        return index

    def withdraw(self) -> None:
        """Remove the notes; what a registry refuses stays, and no other index can use it."""
        first = self._places[0]
        for platform, note in self._notes.items():
            reference = f"{first.repository}:{self._tags[platform]}"
            try:
                removed = self._tries(
                    f"removing {reference}", partial(first.api.delete_manifest, note.digest)
                )
            except (PhaseFailed, DeadlinePassed) as error:  # the image is published all the same
                why = str(error) or "no time is left to remove it"
                self._phase.log.say(f"{reference} is left: {why}")
                continue
            if not removed:
                self._phase.log.say(f"{reference} is left: the registry deletes nothing")

    def _note(self, platform: str, image: Manifest) -> Manifest:
        document = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [artifact.descriptor(image)],
            "annotations": {_SEAL: self._seal(platform, image.digest)},
        }
        return Manifest(json.dumps(document, separators=(",", ":")).encode(), INDEX)

    def _seal(self, platform: str, digest: str) -> str:
        return image_index.seal(self._index, self._commit, platform, digest)

    def _find(self, platform: str) -> None:
        """Look for another build's note. One of somebody else counts as none."""
        first, tag = self._places[0], self._tags[platform]
        reference = f"{first.repository}:{tag}"
        note = self._tries(f"looking for {reference}", lambda: first.api.manifest(tag))
        if note is None:
            return
        digest = self._sealed(platform, note)
        if digest is None:
            self._phase.log.say(f"{reference} is not by a build of this image: it does not count")
            return
        self._images[platform] = verified(self._tries, first, digest)
        self._notes[platform] = note

    def _sealed(self, platform: str, note: Manifest) -> str | None:
        """The image's digest that a note names, where its seal is right."""
        try:
            document = json.loads(note.content)
            (image,) = document["manifests"]
            digest, seal = str(image["digest"]), str(document["annotations"][_SEAL])
        except (ValueError, RecursionError, LookupError, TypeError):
            return None
        right = self._seal(platform, digest)
        return digest if hmac.compare_digest(seal.encode(), right.encode()) else None
