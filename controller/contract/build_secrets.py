"""Secrets that RUN steps see: where in Vault they are, never what they are.

They have a prefix of their own in Vault, `nomad-build-service/build/`: whoever may *use* a
credential to fetch or publish shall not thereby be able to print it from a RUN step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from controller.contract.field_error import FieldError, text_of

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)
_PATH = re.compile(
    r"[A-Za-z0-9_@+=.-]+/nomad-build-service/build(?:/[A-Za-z0-9_@+=.-]+)+\Z", re.ASCII
)
_FIELD = re.compile(r"[A-Za-z0-9_.-]+\Z", re.ASCII)
_FIX = (
    "never write the secret itself here: store it in Vault below MOUNT/nomad-build-service/build/"
)
_CREDENTIALS = (
    "git_credentials_path",
    "registry_credentials_path",
    "destination_credentials_path",
    "webhook_secret",
)


def secret_id(value: Any) -> str:
    """The id by which `RUN --mount=type=secret,id=…` or `type=ssh,id=…` names it."""
    name = text_of(value)
    if not _ID.match(name):
        raise FieldError("is not the id of a mount", "use letters, digits and . _ -")
    return name


def path(value: Any) -> str:
    """The Vault path of a secret for RUN steps."""
    given = text_of(value)
    if not _PATH.match(given) or any(not part.strip(".") for part in given.split("/")):
        raise FieldError("is not a path below MOUNT/nomad-build-service/build/", _FIX)
    return given


def path_and_field(value: Any) -> str:
    """The Vault path of a secret for RUN steps, and which of its fields: `PATH#FIELD`."""
    given = text_of(value)
    below, found, name = given.partition("#")
    path(below)
    if not found or not _FIELD.match(name):
        raise FieldError(
            "does not say which field of the secret", "write PATH#FIELD, such as …/npm#token"
        )
    return given


def vault_paths(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every Vault path of a document, of a build or a promotion, with the field it stands in."""
    for field in _CREDENTIALS:
        if given := document.get(field):
            yield field, given
    for number, further in enumerate(document.get("additional_repositories") or ()):
        if given := further.get("registry_credentials_path"):
            yield f"additional_repositories[{number}].registry_credentials_path", given
    for field in ("build_secrets", "build_ssh"):
        for name, given in (document.get(field) or {}).items():
            yield f"{field}.{name}", given.partition("#")[0]
