"""The repositories that a build publishes to, each with its credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.tasks.environment import TaskEnvironment
from controller.tasks.registry import host_of
from controller.tasks.registry_api import RegistryApi
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)


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
        Destination(
            repository,
            credential,
            RegistryApi(
                repository,
                credential,
                insecure=host_of(repository) in environment.insecure_registries,
            ),
        )
        for repository, path in wanted.items()
        # A login of its own for each repository: two on one registry may need different ones.
        for credential in [vault.read(path, _SECRET) | {"registry": repository} if path else {}]
    ]
