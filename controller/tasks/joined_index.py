"""The index of an image whose platforms are built in several allocations.

See `contract.image_index`: the images wait under tags of their own in the first repository, and the
build that finds all of them publishes the index. Every repository has the images by then, because
each build pushes to all of them before it gives its tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from controller.contract import image_index
from controller.tasks import artifact
from controller.tasks.destinations import Destination
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.image_push import put_index, verified
from controller.tasks.phase import Phase
from controller.tasks.registry_api import Manifest
from controller.tasks.tagging import remove_tag
from controller.tasks.tries import Tries


class JoinedIndex:
    """Of one build, as it publishes. Methods raise PhaseFailed, DeadlinePassed."""

    def __init__(self, phase: Phase, places: Sequence[Destination], commit: str) -> None:
        index: Mapping[str, Any] = phase.request[image_index.FIELD]
        self._phase = phase
        self._places = places
        self._own: list[str] = list(index["platforms"])
        self._all: list[str] = list(index["of"])
        self._tags = {one: image_index.tag(index, commit, one) for one in self._all}
        self._tries = Tries(phase.log, phase.deadline)

    def offer(self, image: Manifest) -> None:
        """Let the other builds find what this one has pushed: an image, or an index of several."""
        first = self._places[0]
        parts = artifact.platforms(image)
        for platform in self._own:
            digest = parts[platform if len(self._own) > 1 else ""]["digest"]
            part = verified(self._tries, first, digest)
            reference = f"{first.repository}:{self._tags[platform]}"
            self._tries(
                f"giving {reference}",
                partial(first.api.put_manifest, self._tags[platform], part),
            )
            self._phase.log.say(f"the image for {platform} waits as {reference}")

    def publish(self) -> Manifest | None:
        """Put the index into every repository if the images of all platforms are there."""
        images: dict[str, Manifest] = {}
        for platform in self._all:
            image = self._find(platform)
            if image is not None:
                images[platform] = image
        if missing := [one for one in self._all if one not in images]:
            self._phase.log.say(
                f"{' and '.join(missing)} not there yet: the build that is last publishes the index"
            )
            return None
        index = artifact.index(images)
        for place in self._places:
            self._phase.log.say(f"pushing the index to {place.repository}")
            put_index(self._tries, place, index)
        return index

    def withdraw(self) -> None:
        """Remove the tags under which the images waited; what a registry refuses stays."""
        first = self._places[0]
        for tag in self._tags.values():
            try:
                removed = self._tries(f"removing {tag}", partial(remove_tag, first.api, tag))
            except (PhaseFailed, DeadlinePassed) as error:  # the image is published all the same
                why = str(error) or "no time is left to remove it"
                self._phase.log.say(f"{first.repository}:{tag} is left: {why}")
                continue
            if not removed:
                self._phase.log.say(f"{first.repository}:{tag} is left: it deletes no tags")

    def _find(self, platform: str) -> Manifest | None:
        first, tag = self._places[0], self._tags[platform]
        reference = f"{first.repository}:{tag}"
        found = self._tries(f"looking for {reference}", lambda: first.api.manifest(tag))
        # Another build may take the tags away meanwhile, for which it moves them.
        return found if found is not None and artifact.is_image(found) else None
