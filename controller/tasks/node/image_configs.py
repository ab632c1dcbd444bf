"""What the configuration of a fetched image says, from the storage itself: no program is asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def users(graph_root: Path, images: Mapping[str, Iterable[str]]) -> dict[str, str | None]:
    """Who base images run as, by name, from their IDs; None where that is not one, or not known."""
    found = {name: {_user(_config(graph_root, one)) for one in images[name]} for name in images}
    return {name: users.pop() if len(users) == 1 else None for name, users in found.items()}


def triggers(graph_root: Path, images: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The ONBUILD instructions of base images, by name; none for images that have none."""
    found = {
        name: [line for one in images[name] for line in _triggers(_config(graph_root, one))]
        for name in images
    }
    return {name: list(dict.fromkeys(lines)) for name, lines in found.items() if lines}


def _user(config: Mapping[str, Any] | None) -> str | None:
    if config is None or _triggers(config):
        return None  # what ONBUILD adds to the Dockerfile may say USER
    return str(config.get("User") or "root")


def _triggers(config: Mapping[str, Any] | None) -> list[str]:
    lines = (config or {}).get("OnBuild") or []
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _config(graph_root: Path, image_id: str) -> Mapping[str, Any] | None:
    # https://github.com/containers/storage (makeBigDataBaseName)
    file = "=" + base64.b64encode(f"sha256:{image_id}".encode()).decode()
    try:
        config = json.loads((graph_root / "overlay-images" / image_id / file).read_bytes())
        found = config["config"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, dict) else None
