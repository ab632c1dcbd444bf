"""Task `promote`: give a published digest further tags, or copy it elsewhere; nothing is rebuilt.

The request, as dispatch payload or (for what is short) as meta:

    {"image": "registry.example/team/app", "digest": "sha256:…", "tags": ["1.4", "stable"],
     "destination": "other.example/team/app", "registry_credentials_path": "secret/…",
     "destination_credentials_path": "secret/…"}

`protected_tags` are those of `tags` that the owner's policy closes to images with a patch in them.
`destination` defaults to `image`, its credentials to those of `image`. In meta, tags are separated
by commas.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from controller.contract.field_error import FieldError
from controller.contract.fields import FORMATS
from controller.contract.patch import PATCH_LABEL
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.node.storage import registries_env
from controller.tasks.phase import Phase
from controller.tasks.registries.destinations import SECRET, destination_of
from controller.tasks.registries.registry import Registry, host_of, login
from controller.tasks.registries.tagging import Tagging
from controller.tasks.registries.tries import Tries
from controller.tasks.vault import VaultSession

_FIELDS = {
    "image": "image-repository",
    "destination": "image-repository",
    "digest": "digest",
    "registry_credentials_path": "vault-path",
    "destination_credentials_path": "vault-path",
}


def read(environment: TaskEnvironment) -> dict[str, Any]:
    """The promotion asked for. Raises PhaseFailed(InvalidRequest) naming every wrong field."""
    try:
        given = environment.document()
    except FileNotFoundError:
        given = dict(environment.meta)
        given["tags"] = [tag for tag in given.get("tags", "").split(",") if tag]
    except FieldError as error:
        raise PhaseFailed("InvalidRequest", f"the payload {error}") from error
    if not isinstance(given, dict):
        raise PhaseFailed("InvalidRequest", "the payload is not a JSON object")
    problems = [
        f"{name}: is missing" for name in ("image", "digest", "tags") if not given.get(name)
    ]
    problems += [
        problem
        for name, kind in _FIELDS.items()
        if given.get(name)
        for problem in _problem(name, kind, given[name])
    ]
    tags = given.get("tags") or []
    problems += [
        problem
        for number, tag in enumerate(tags if isinstance(tags, list) else [None])
        for problem in _problem(f"tags[{number}]", "tag", tag)
    ]
    if problems:
        raise PhaseFailed("InvalidRequest", "; ".join(problems))
    return {name: given.get(name) or "" for name in _FIELDS} | {
        "tags": tags,
        "protected_tags": [tag for tag in tags if tag in (given.get("protected_tags") or ())],
    }


def work(phase: Phase) -> str:
    """Promote; fills image, digest, references. Raises PhaseFailed."""
    wanted = phase.request
    source = f"{wanted['image']}@{wanted['digest']}"
    destination = wanted["destination"] or wanted["image"]
    paths = {
        wanted["image"]: wanted["registry_credentials_path"],
        # Last: where both are one repository, it is the destination's that pushes.
        destination: wanted["destination_credentials_path"],
    }
    if host_of(destination) == host_of(wanted["image"]):  # a credential stays with its registry
        paths[destination] = paths[destination] or wanted["registry_credentials_path"]
    with VaultSession(phase.environment, phase.redactor) as vault:
        logins = {
            repository: vault.read(path, SECRET) | {"registry": repository} if path else {}
            for repository, path in paths.items()
        }
    env = registries_env(phase.environment, phase.environment.task_dir / "home")
    phase.fields.update(image=destination, digest=wanted["digest"], references=[])
    place = destination_of(phase.environment, destination, logins[destination])
    tries = Tries(phase.log, phase.deadline)
    with login(phase.environment.secrets_dir, *logins.values()) as authfile:
        registry = Registry(env, authfile, phase.log, phase.deadline)
        if wanted["protected_tags"] and PATCH_LABEL in registry.labels(
            wanted["image"], wanted["digest"]
        ):
            raise PhaseFailed(
                "TagProtected",
                f"{source} holds a patch that was never pushed, and"
                f" {', '.join(wanted['protected_tags'])} may not name such an image",
            )
        if destination != wanted["image"]:
            target = f"{destination}@{wanted['digest']}"
            tries(f"copying to {target}", partial(registry.copy, source, target))
    manifest = tries(f"reading {source}", partial(place.api.manifest, wanted["digest"]))
    if manifest is None or manifest.digest != wanted["digest"]:
        raise PhaseFailed("PublishFailed", f"{destination} has no image {wanted['digest']}")
    tags = list(dict.fromkeys(wanted["tags"]))
    tagging = Tagging([place], tags, manifest, phase.log, phase.deadline)
    try:
        tagging.give_all()
    finally:
        phase.fields["tags"] = [tag.shown() for tag in tagging.tags]
        phase.fields["references"] = tagging.given()
    return "succeeded"


def _problem(name: str, kind: str, value: object) -> list[str]:
    if not isinstance(value, str):
        return [f"{name}: must be a string"]
    try:
        FORMATS[kind](value)
    except ValueError as error:
        return [f"{name}: {error}"]
    return []
