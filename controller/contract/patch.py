"""A patch: changes on top of a commit that were never pushed, as a unified diff.

https://git-scm.com/docs/git-diff#_generating_patch_text_with_p. Git applies it on the build node
and refuses what leads out of the checkout; here it is only seen to be one.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from controller.contract.field_error import FieldError, text_of

PATCH_LABEL = "nomad-build-service.patch"  # of an image: the digest of what was applied
_FILE = re.compile(r"^(?:diff --git |--- .*\n\+\+\+ )", re.MULTILINE)
_DIGITS = 8  # of a digest, in a tag


def unified_diff(value: Any) -> str:
    """What `git diff` prints, with or without `--binary`."""
    given = text_of(value)
    if "\0" in given:
        raise FieldError("holds a NUL character", "make it with git diff --binary")
    if not _FILE.search(given):
        raise FieldError("is not a unified diff", "send what `git diff --binary COMMIT` prints")
    # The last line end is what gets lost on the way, and Git calls the patch corrupt without it.
    return given if given.endswith("\n") else given + "\n"


def digest(patch: str) -> str:
    """The name of a patch: `sha256:` of its UTF-8 text."""
    return f"sha256:{hashlib.sha256(patch.encode()).hexdigest()}"


def default_tag(commit: str, patch: str | None) -> str:
    """The tag of a build that names none: of its commit, and of its patch where it has one."""
    tag = commit[:12]
    return f"{tag}-patch-{digest(patch)[7 : 7 + _DIGITS]}" if patch else tag
