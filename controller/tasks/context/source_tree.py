"""What a request points at in a checkout: the build context and the Dockerfile.

The checkout is somebody else's: links in it may lead anywhere, so both are resolved and proven to
lie inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.tasks.errors import PhaseFailed

_MAX_DOCKERFILE = 1 << 20


def dockerfile(source: Path, request: Mapping[str, Any]) -> tuple[Path, bytes]:
    """The context directory and the Dockerfile's content. Raises PhaseFailed."""
    source = source.resolve()
    context = _inside(source, request["context_path"], "context_path")
    if not context.is_dir():
        raise PhaseFailed(
            "DockerfileNotFound",
            f"context_path {request['context_path']!r} is no directory of the repository",
        )
    wanted = request["dockerfile_path"]
    path = _inside(source, wanted, "dockerfile_path")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PhaseFailed("DockerfileNotFound", f"{wanted!r} is not a plain file")
        if status.st_size > _MAX_DOCKERFILE:
            raise PhaseFailed("DockerfileInvalid", f"{wanted!r} is larger than 1 MiB")
        return context, path.read_bytes()
    except FileNotFoundError as error:
        raise PhaseFailed(
            "DockerfileNotFound", f"the repository has no {wanted!r} at this commit"
        ) from error


def text(content: bytes) -> str:
    """A Dockerfile's text, line ends kept. What is no UTF-8 becomes no other character of ASCII."""
    return content.decode("utf-8", "replace")


def _inside(source: Path, relative: str, field: str) -> Path:
    path = Path(os.path.realpath(source / relative))
    if not path.is_relative_to(source):
        raise PhaseFailed(
            "DockerfileRefused", f"{field} {relative!r} leads out of the repository through a link"
        )
    return path


def ignore_text(source: Path, context: Path, dockerfile_path: str) -> str:
    """The text of the ignore file that counts, as Buildah chooses it: beside the Dockerfile under
    its name, else the context's."""
    found = ignore_file(source, dockerfile_path)
    for path in (found, context / ".containerignore", context / ".dockerignore"):
        real = Path(os.path.realpath(path)) if path else context
        if real.is_relative_to(source.resolve()) and real.is_file():
            return real.read_text("utf-8", "replace")[:_MAX_DOCKERFILE]
    return ""


def ignore_file(source: Path, dockerfile_path: str) -> Path | None:
    """The ignore file beside the Dockerfile under its name, if it has one."""
    for ending in ("dockerignore", "containerignore"):
        real = Path(os.path.realpath(source / f"{dockerfile_path}.{ending}"))
        if real.is_relative_to(source.resolve()) and real.is_file():
            return real
    return None
