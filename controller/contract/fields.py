"""What a value of each kind of field may be: one function a `format`, used by every door.

The pydantic model of the controller runs these functions as validators; the runner's JSON-Schema
validator runs the same ones through the keyword `format`. Each takes a value, returns it in its
normal form, and raises FieldError, which says what is wrong and what to write instead.

Nothing here escapes or repairs: a value that could be read as an option, another path or another
transport is refused, everything else is data and never passes through a shell that we compose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from controller.contract import (
    amounts,
    build_secrets,
    git_names,
    image_names,
    moments,
    patch,
    platform_names,
    webhook_fields,
)
from controller.contract.field_error import FieldError, Format, text_of

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NOT_IN_LABEL = re.compile(r"[$\"\\`]")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?\Z")
_VAULT_PART = re.compile(r"[A-Za-z0-9_@+=.-]+\Z")
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_CLASS = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_KEY = re.compile(r"[!-~]+\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def line(value: Any) -> str:
    """Text on one line."""
    text = text_of(value)
    if _CONTROL.search(text):
        raise FieldError("holds a line break or another control character", "write it on one line")
    return text


def text(value: Any) -> str:
    """Text that may have several lines, such as a test command or an environment value."""
    given = text_of(value)
    if _CONTROL_IN_TEXT.search(given):
        raise FieldError("holds a control character other than tab and line breaks", "remove it")
    return given


def owner(value: Any) -> str:
    """Who a build belongs to: a name of up to 128 characters."""
    name = _name(value)
    if not name or name != name.strip():
        raise FieldError("is empty or has blanks around it", "name a person, a team or an agent")
    return name


def command(value: Any) -> str | list[str]:
    """A test command: a string for the image's `sh -c`, or a list of words run as they are."""
    if isinstance(value, list):
        words = [text(word) for word in value]
        if not words or not words[0]:
            raise FieldError("names no program", 'write the program first: ["pytest", "-q"]')
        return words
    if not isinstance(value, str):
        raise FieldError(
            "is neither a string nor a list of strings", 'write "pytest -q" or ["pytest", "-q"]'
        )
    if not value.strip():
        raise FieldError("is empty", "write a command, or leave the entry out")
    return text(value)


def directory_path(value: Any) -> str:
    """A directory of the repository, relative to its root; `.` is the root."""
    return _path(value, "write a path relative to the repository's root, such as services/api")


def file_path(value: Any) -> str:
    """A file of the repository, relative to its root."""
    path = _path(value, "write a path relative to the repository's root, such as docker/Dockerfile")
    if path.endswith("/") or path.rpartition("/")[2] == ".":
        raise FieldError("names a directory", "name the file, such as docker/Dockerfile")
    return path


def _name(value: Any) -> str:
    name = text_of(value)
    if not name.isprintable():
        raise FieldError("holds a line break or another invisible character", "remove it")
    return name


def _path(value: Any, fix: str) -> str:
    path = _name(value)
    if not path:
        raise FieldError("is empty", fix)
    if path.startswith("/"):
        raise FieldError("is an absolute path", fix)
    if path.startswith("-"):
        raise FieldError("begins with a dash and would read as an option", f"write ./{path}")
    if ".." in path.split("/"):
        raise FieldError("leads out of the repository by '..'", fix)
    return path


def env_name(value: Any) -> str:
    """The name of an environment variable or a build argument."""
    name = text_of(value)
    if not _ENV_NAME.match(name):
        raise FieldError("is not a variable's name", "use letters, digits and _, no digit first")
    return name


def label_key(value: Any) -> str:
    """The key of an image label."""
    key = text_of(value)
    if not _LABEL_KEY.match(key):
        raise FieldError(
            "is not a label's key", "use letters, digits and . _ / - such as com.example.team"
        )
    return key


def label_value(value: Any) -> str:
    """The value of an image label.

    Buildah writes it into a LABEL instruction, where these characters would not stay themselves.
    """
    text = line(value)
    if found := _NOT_IN_LABEL.search(text):
        raise FieldError(
            f"holds {found[0]}, which a LABEL instruction would interpret", 'leave out $ " \\ and `'
        )
    return text


def vault_path(value: Any) -> str:
    """The path of a Vault KV secret, with its mount: `secret/nomad-build-service/git/x`."""
    path = text_of(value)
    parts = path.split("/")
    if len(parts) < 2 or not all(_VAULT_PART.match(part) and part.strip(".") for part in parts):
        raise FieldError(
            "is not a Vault path",
            "write MOUNT/PATH, such as secret/nomad-build-service/git/my-team",
        )
    return path


def stage(value: Any) -> str:
    """The name or number of a Dockerfile's stage."""
    name = text_of(value)
    if not _STAGE.match(name):
        raise FieldError("is not a stage's name", "write the name after AS in the Dockerfile")
    return name


def build_class(value: Any) -> str:
    """The name of one of the operator's build classes."""
    name = text_of(value)
    if not _CLASS.match(name):
        raise FieldError("is not the name of a build class", "use small letters, digits and -")
    return name


def idempotency_key(value: Any) -> str:
    """Whatever names this submission uniquely for its owner; ASCII without blanks."""
    key = text_of(value)
    if not _KEY.match(key):
        raise FieldError("holds blanks or characters outside ASCII", "use a UUID or a hash")
    return key


def platform(value: Any) -> str:
    """An operating system and architecture in OCI's words; second names of them are understood."""
    name = platform_names.parse(text_of(value))
    if not name.startswith("linux/"):
        raise FieldError("is not a platform of Linux", "write linux/amd64 or linux/arm64")
    return name


def digest(value: Any) -> str:
    """A manifest's digest."""
    name = text_of(value)
    if not _DIGEST.match(name):
        raise FieldError("is not a digest", "write sha256: and 64 hexadecimal digits")
    return name


FORMATS: dict[str, Format] = {
    "age": amounts.age,
    "build-class": build_class,
    "build-secret": build_secrets.path_and_field,
    "build-ssh-key": build_secrets.path,
    "command": command,
    "digest": digest,
    "directory-path": directory_path,
    "env-name": env_name,
    "file-path": file_path,
    "git-ref": git_names.ref,
    "git-url": git_names.url,
    "idempotency-key": idempotency_key,
    "image-name": image_names.path,
    "image-repository": image_names.repository,
    "label-key": label_key,
    "label-value": label_value,
    "line": line,
    "megabytes": amounts.megabytes,
    "megahertz": amounts.megahertz,
    "owner": owner,
    "patch": patch.unified_diff,
    "platform": platform,
    "registry-url": image_names.registry_url,
    "secret-id": build_secrets.secret_id,
    "since": moments.since,
    "stage": stage,
    "tag": image_names.tag,
    "text": text,
    "timespan": amounts.timespan,
    "vault-path": vault_path,
    "webhook-header": webhook_fields.header_name,
    "webhook-secret": webhook_fields.secret,
    "webhook-url": webhook_fields.url,
    "webhook-value": webhook_fields.header_value,
}


def check(name: str) -> Callable[[Any], Any]:
    """The function of a format. Raises KeyError for a format that does not exist."""
    return FORMATS[name]
