"""Whether the Vault paths of a request name secrets that the phases may use; never their values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from controller.clients.vault import Found, VaultClient
from controller.contract.json_schema import Problem


class CredentialPaths:
    """Checks paths in Vault; without a Vault there is nothing to check."""

    def __init__(self, vault: VaultClient | None) -> None:
        self._vault = vault

    @property
    def checked(self) -> bool:
        """Whether paths are checked at all."""
        return self._vault is not None

    async def problems(self, paths: Mapping[str, str]) -> list[Problem]:
        """What is wrong with the paths of these fields. Raises UnavailableError."""
        if self._vault is None:
            return []
        checks = (_problem(self._vault, field, path) for field, path in paths.items())
        return [problem for problem in await asyncio.gather(*checks) if problem]


async def _problem(vault: VaultClient, field: str, path: str) -> Problem | None:
    mount, _, rest = path.partition("/")
    if mount != vault.mount:
        return Problem(
            field,
            f"{path!r} is not below the mount {vault.mount!r}",
            f"write {vault.mount}/nomad-build-service/…",
        )
    name = rest.removeprefix("data/")
    found = await vault.exists(name)
    if found is Found.NO:
        return Problem(
            field,
            f"there is no secret at {path!r}",
            f"store it: vault kv put -mount={vault.mount} {name} …",
        )
    if found is Found.REFUSED:
        begin = field.partition("_")[0]
        kind = begin if begin in ("build", "git", "webhook") else "registry"
        return Problem(
            field,
            f"this service may not use {path!r}",
            f"use a path below {vault.mount}/nomad-build-service/{kind}/",
        )
    return None
