"""What to do about a COPY or an ADD that failed, by Buildah's words and by where it copies from."""

from __future__ import annotations

import re

from controller.tasks.dockerfiles.instructions import Instruction

_OWNER = re.compile(r"^looking up UID/GID for ")
_CHECKSUM = re.compile(r"unexpected response digest for ")
_STATUS = re.compile(r"invalid response status (?P<status>\d+)")
_URL = re.compile(r"(?:\t\* )?reading \"https?://")
_NETWORK = re.compile(r"[Nn]etwork is unreachable|connect: invalid argument")
_EXISTS = re.compile(r"^destination .* already exists but is not a directory")
_SOURCE = re.compile(r"no such file|no glob matches|matched nothing|escaping context directory")


def copy_hint(words: str, instruction: Instruction | None) -> str | None:
    """A hint that is more than the reason's own; None where there is none.

    `words` are Buildah's own; `instruction` is the step's, where it is known.
    """
    if _OWNER.search(words):
        return (
            "The image has no such user or group: make it in an earlier step, or give numbers to "
            "--chown."
        )
    if _URL.match(words):
        return _download_hint(words)
    if _EXISTS.search(words):
        return "Several files can be copied into a directory only: take another destination."
    if not _SOURCE.search(words):
        return "Read the message: Buildah's own words are in it."
    source = instruction.flag("from") if instruction else None
    if source is None:
        return (
            "The source is not in the build context: check the path, .dockerignore and "
            "context_path."
        )
    return (
        f"The stage or image {source[:100]} has no such file: check the path, which begins at its "
        "root, and that a step there makes it."
    )


def _download_hint(words: str) -> str:
    if _CHECKSUM.search(words):
        return "The URL gives another content than --checksum says: check both."
    if match := _STATUS.search(words):
        return f"The URL's server answered {match['status']}: check the URL."
    if _NETWORK.search(words):
        return (
            "The step could not reach a host. ADD has the public network only: private addresses "
            "need the pack variable build_network_allow, and build_network none has none."
        )
    return "The URL could not be read: the message says why."
