"""The demo's sample project: its repository on the Git server, and its build.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .cluster import GIT_SECRET, REGISTRY_SECRET, Cluster
from .git_repository import GitRepository
from .paths import REPOSITORY

SOURCE = REPOSITORY / "scripts" / "sample"
NAME = "sample-site"


def build_request(cluster: Cluster) -> dict[str, Any]:
    """Return the complete request that builds the sample."""
    return {
        "owner": "demo",
        "repo_url": cluster.git_http.url(NAME, private=True),
        "git_ref": "main",
        "git_credentials_path": f"secret/{GIT_SECRET}",
        "dockerfile_path": "Dockerfile",
        "build_args": {"BASE_IMAGE": cluster.base_image},
        "registry_url": f"{cluster.registry.host}/demo/{NAME}",
        "registry_credentials_path": f"secret/{REGISTRY_SECRET}",
        "image_tags": ["1.0", "latest"],
        "test_commands": ["test-site"],
    }


def put_in_place(cluster: Cluster) -> Path:
    """Put the sample on the Git server (anew if it changed) and write build.json; return it.

    The repository stays as it is when its content is the one wanted, so that a second demo
    builds the same commit and finds its layers.
    """
    directory = cluster.state.root / "sample"
    directory.mkdir(exist_ok=True)
    stamp = directory / "source.sha256"
    wanted = _digest(SOURCE)
    if not stamp.exists() or stamp.read_text() != wanted:
        repository: GitRepository = cluster.create_git_repository(NAME, SOURCE)
        stamp.write_text(wanted)
        (directory / "commit").write_text(repository.commit)
    file = directory / "build.json"
    file.write_text(json.dumps(build_request(cluster), indent=2) + "\n")
    return file


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_mode & 0o111}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
