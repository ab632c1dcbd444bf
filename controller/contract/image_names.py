"""The names of images: repositories and tags, by the grammar of the OCI distribution reference.

https://github.com/distribution/reference/blob/main/regexp.go. A registry's host is required here,
so that nobody publishes to a default registry by accident.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from controller.contract.field_error import FieldError, text_of

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_REPOSITORY = re.compile(rf"(?P<host>{_HOST})(?P<path>(?:/{_PART})*)\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
MAX_REPOSITORY = 255
_FIX = "write HOST[:PORT]/PATH in small letters, such as registry.example.com/team/app"


def repository(value: Any) -> str:
    """A repository with its registry's host: `registry.example.com:5000/team/app`."""
    name = registry_url(value)
    if "/" not in name:
        raise FieldError("names a registry but no repository in it", _FIX)
    return name


def registry_url(value: Any) -> str:
    """A registry's host, with or without a path; a scheme and a last slash are taken off."""
    name = re.sub(r"\Ahttps?://", "", text_of(value)).removesuffix("/")
    match = _REPOSITORY.match(name)
    if not match:
        problem = "is not a registry or a repository"
        if "@" in name or re.search(r":[^/]*\Z", name.partition("/")[2]):
            raise FieldError(
                f"{problem}: it carries a tag, a digest or a user",
                "leave it out; tags go into image_tags",
            )
        if match := _REPOSITORY.match(name.lower()):
            raise FieldError(f"{problem}: it has capital letters", _FIX)
        raise FieldError(problem, _FIX)
    host = match["host"]
    if not ("." in host or ":" in host or host == "localhost"):
        raise FieldError(f"begins with {host!r}, which is not a registry's host", _FIX)
    if len(name) > MAX_REPOSITORY:
        raise FieldError(f"is longer than {MAX_REPOSITORY} characters", "use a shorter path")
    return name


def path(value: Any) -> str:
    """An image's name below the registry: `app` or `team/app`."""
    name = text_of(value)
    if not _NAME.match(name):
        raise FieldError(
            "is not an image's name",
            "use small letters, digits and . _ - between them, such as team/app; "
            "tags go into image_tags",
        )
    return name


def tag(value: Any) -> str:
    """A tag: up to 128 letters, digits and `_ . -`, the first not `.` or `-`."""
    name = text_of(value)
    if not _TAG.match(name):
        raise FieldError(
            "is not a tag", "use up to 128 letters, digits and _ . - and begin with no . or -"
        )
    return name


def join(registry: str, name: str | None) -> str:
    """The repository that an image is published to. Raises FieldError for one that is not whole."""
    return repository(f"{registry}/{name}" if name else registry)


def intermediate(repository_name: str, job_id: str) -> str:
    """The intermediate image of a build: what one phase keeps in a registry for another.

    Its tag is the job_id. A job_id that is no tag (too long, or with the `~` of an encoded
    namespace) gives `build-` and its SHA-256 instead, which no job_id is: that has dots.
    """
    name = job_id if _TAG.match(job_id) else f"build-{hashlib.sha256(job_id.encode()).hexdigest()}"
    return f"{repository_name}:{name}"
