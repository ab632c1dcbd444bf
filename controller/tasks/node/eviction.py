"""Which images leave the layer cache first: those that no build has used for longest.

A build leaves a mark for each image that it used and did not make, steps of earlier stages
included. An image is in use as long as anything that stands on it, so what goes first is what
nothing else stands on.

    STORAGE/<owner>/used/<image>   empty; its modification time is the last use
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

_SHORT = 12  # of an image's ID, as Buildah prints it
_MOST = 2000  # marks of one build: RUN steps may print what looks like one
_IMAGE = re.compile(r"--> Using cache (?P<image>[0-9a-f]{12,64})\Z")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in an owner's storage: its layers, and when a build last used it."""

    owner: Path
    image: str
    layers: tuple[str, ...]
    used: float


class Uses:
    """The images that one build uses, as Buildah names them line by line."""

    def __init__(self, owner: Path) -> None:
        self._folder = owner / "used"
        self._found: set[str] = set()

    def feed(self, text: str) -> None:
        """Take in one line of Buildah's output."""
        match = _IMAGE.match(text)
        if match and len(self._found) < _MOST:
            self._found.add(match["image"][:_SHORT])

    def mark(self, images: Iterable[str]) -> None:
        """Write the marks, for these images too. Raises OSError."""
        self._folder.mkdir(exist_ok=True, mode=0o711)
        now = time.time()
        for image in self._found | {image.removeprefix("sha256:")[:_SHORT] for image in images}:
            path = self._folder / image
            path.touch()
            os.utime(path, (now, now))


def stored(owner: Path) -> list[StoredImage]:
    """Every image of an owner; none where the storage cannot be read."""
    known = {
        layer["id"]: layer
        for name in ("layers", "volatile-layers")
        for layer in _list(owner / f"root/overlay-layers/{name}.json")
    }
    found = []
    uses: dict[str, float] = {}
    for image in _list(owner / "root/overlay-images/images.json"):
        layers = []
        layer = image.get("layer", "")
        while layer:
            layers.append(layer)
            layer = known.get(layer, {}).get("parent", "")
        used = max(_used(owner, image["id"]), _made(known.get(image.get("layer", ""), {})))
        found.append(StoredImage(owner, image["id"], tuple(layers), used))
        for layer in layers:
            uses[layer] = max(used, uses.get(layer, 0.0))
    return [replace(one, used=uses[one.layers[0]]) if one.layers else one for one in found]


def oldest(
    images: Iterable[StoredImage], sizes: Mapping[tuple[Path, str], int], wanted: int
) -> tuple[list[StoredImage], int]:
    """The images to remove so that `wanted` bytes are freed, and how many that frees.

    `sizes` are those of layers; a layer is freed with the last image that has it.
    """
    ordered = sorted(images, key=lambda one: (one.used, -len(one.layers)))
    left = Counter((one.owner, layer) for one in ordered for layer in one.layers)
    chosen: list[StoredImage] = []
    freed = 0
    for one in ordered:
        if freed >= wanted:
            break
        chosen.append(one)
        for layer in one.layers:
            left[one.owner, layer] -= 1
            if not left[one.owner, layer]:
                freed += sizes.get((one.owner, layer), 0)
    return chosen, freed


def forget(owner: Path) -> None:
    """Remove the marks of images that are no more."""
    kept = {one.image[:_SHORT] for one in stored(owner)}
    if (owner / "used").is_dir():
        for mark in (owner / "used").iterdir():
            if mark.name not in kept:
                mark.unlink(missing_ok=True)


def _used(owner: Path, image: str) -> float:
    try:
        return (owner / "used" / image[:_SHORT]).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _made(layer: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(layer["created"])).timestamp()
    except (KeyError, ValueError):
        return 0.0


def _list(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
