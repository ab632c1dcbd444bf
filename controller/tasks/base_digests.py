"""The digests of the base images that were pulled for a build, for its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from controller.contract.results import DIGEST
from controller.tasks.process import Deadline
from controller.tasks.sandbox import Sandbox
from controller.tasks.storage import OwnerStorage

_WITHIN = 30  # seconds


def digests(
    sandbox: Sandbox, storage: OwnerStorage, pulled: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Name and manifest digest of each image, given as IDs by name; without unknown ones."""
    wanted = [
        (name, image_id) for name, found in pulled.items() for image_id in found
    ]  # without algorithm
    if not wanted:
        return []
    code, listed, _ = sandbox.capture(
        storage.buildah("images", "--all", "--json", "--digests", "--no-trunc"),
        Deadline.after(_WITHIN),
    )
    known = {
        str(image.get("id")).removeprefix("sha256:"): str(image.get("digest"))
        for image in (json.loads(listed or "[]") if code == 0 else [])
    }
    return [
        {"name": name, "digest": known[image_id]}
        for name, image_id in wanted
        if DIGEST.match(known.get(image_id, ""))
    ]
