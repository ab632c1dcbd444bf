"""The digests of the base images that were pulled for a build, for its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller.contract.results import DIGEST
from controller.tasks.node.storage import OwnerStorage, stored_images


def digests(storage: OwnerStorage, pulled: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Name and manifest digest of each image, given as IDs by name; without unknown ones."""
    known = {
        str(image["id"]): str(image.get("digest")) for image in stored_images(storage.directory)
    }
    return [
        {"name": name, "digest": known[image_id]}
        for name, found in pulled.items()
        for image_id in found
        if DIGEST.match(known.get(image_id, ""))
    ]
