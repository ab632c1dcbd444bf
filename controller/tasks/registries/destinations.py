"""The repositories that a build publishes to, each with its credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.tasks.environment import TaskEnvironment
from controller.tasks.registries.registry import host_of
from controller.tasks.registries.registry_api import RegistryApi
from controller.tasks.vault import VaultSession

SECRET = (("username", "password"),)


@dataclass(frozen=True, slots=True)
class Destination:
    """A repository, its credential for a login file, and its API."""

    repository: str
    credential: Mapping[str, str]
    api: RegistryApi


def destinations(
    environment: TaskEnvironment, request: Mapping[str, Any], vault: VaultSession
) -> list[Destination]:
    """Those of a request, `image` first. Raises PhaseFailed where Vault refuses a credential."""
    wanted = {request["image"]: request["registry_credentials_path"]}
    for further in request["additional_repositories"] or ():
        wanted.setdefault(further["image"], further.get("registry_credentials_path"))
    return [
        destination_of(environment, repository, vault.read(path, SECRET) if path else {})
        for repository, path in wanted.items()
    ]


def destination_of(
    environment: TaskEnvironment, repository: str, credential: Mapping[str, str]
) -> Destination:
    """A repository with a credential; empty for none."""
    api = RegistryApi(
        repository, credential, insecure=host_of(repository) in environment.insecure_registries
    )
    # A login of its own for each repository: two on one registry may need different ones.
    login = {**credential, "registry": repository} if credential else {}
    return Destination(repository, login, api)
