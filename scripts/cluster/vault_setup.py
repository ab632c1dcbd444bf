"""What the build service needs in Vault: a KV store, JWT login for Nomad, policies and roles.

The policies and roles are the files in `nomad/vault/`. Applying them twice changes nothing.
Operators run the same code by `scripts/vault-setup`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions

from .errors import ClusterError
from .paths import REPOSITORY

VAULT_FILES = REPOSITORY / "nomad" / "vault"


@dataclass(frozen=True)
class VaultSetup:
    """What to set up, and under which names.

    `jwks_url` is where Vault fetches the keys that Nomad signs workload identities with;
    `namespace` is the Nomad namespace the pack is deployed in; `name_prefix` and `role_prefix` are
    the pack's variables `name_prefix` and `vault_role_prefix`.
    """

    jwks_url: str
    kv_mount: str = "secret"
    auth_mount: str = "jwt-nomad"
    namespace: str = "default"
    name_prefix: str = ""
    role_prefix: str = "nbs"

    def name_of(self, file_name: str) -> str:
        """Return the name of a policy or role whose file is called `nbs-…`."""
        return self.role_prefix + file_name.removeprefix("nbs")


@dataclass(frozen=True)
class Change:
    """One thing that differs from what is wanted: what it is, and `create` or `update`."""

    what: str
    action: str


def apply(client: hvac.Client, wanted: VaultSetup, *, dry_run: bool = False) -> list[Change]:
    """Bring Vault to `wanted`; returns what was changed (or would be, with `dry_run`)."""
    changes: list[Change] = []
    _apply_kv(client, wanted, changes, dry_run)
    _apply_auth(client, wanted, changes, dry_run)
    for file in sorted((VAULT_FILES / "policies").glob("*.hcl")):
        _apply_policy(client, wanted, file, changes, dry_run)
    for file in sorted((VAULT_FILES / "roles").glob("*.json")):
        _apply_role(client, wanted, file, changes, dry_run)
    return changes


def _apply_kv(
    client: hvac.Client, wanted: VaultSetup, changes: list[Change], dry_run: bool
) -> None:
    mounts = client.sys.list_mounted_secrets_engines()["data"]
    mount = mounts.get(wanted.kv_mount + "/")
    if mount is None:
        changes.append(Change(f"secrets engine {wanted.kv_mount} (kv version 2)", "create"))
        if not dry_run:
            client.sys.enable_secrets_engine("kv", path=wanted.kv_mount, options={"version": "2"})
    elif mount["type"] != "kv" or (mount.get("options") or {}).get("version") != "2":
        raise ClusterError(
            f"Vault's mount {wanted.kv_mount}/ is not a KV version 2 store; name another one"
            " (--kv-mount) or upgrade it with `vault kv enable-versioning`"
        )


def _apply_auth(
    client: hvac.Client, wanted: VaultSetup, changes: list[Change], dry_run: bool
) -> None:
    config = {"jwks_url": wanted.jwks_url, "jwt_supported_algs": ["RS256", "EdDSA"]}
    if wanted.auth_mount + "/" not in client.sys.list_auth_methods()["data"]:
        changes.append(Change(f"auth method {wanted.auth_mount} (jwt)", "create"))
        if dry_run:
            return
        client.sys.enable_auth_method("jwt", path=wanted.auth_mount)
    have = _read(client, f"auth/{wanted.auth_mount}/config")
    if _differs(config, have):
        changes.append(Change(f"configuration of auth method {wanted.auth_mount}", "update"))
        if not dry_run:
            client.write_data(f"auth/{wanted.auth_mount}/config", data=config)


def _apply_policy(
    client: hvac.Client, wanted: VaultSetup, file: Path, changes: list[Change], dry_run: bool
) -> None:
    name = wanted.name_of(file.stem)
    text = file.read_text().replace('path "secret/', f'path "{wanted.kv_mount}/')
    try:
        have = client.sys.read_policy(name)["data"]["rules"]
    except hvac.exceptions.InvalidPath:
        have = None
    if have == text:
        return
    changes.append(Change(f"policy {name}", "create" if have is None else "update"))
    if not dry_run:
        client.sys.create_or_update_policy(name, text)


def _apply_role(
    client: hvac.Client, wanted: VaultSetup, file: Path, changes: list[Change], dry_run: bool
) -> None:
    name = wanted.name_of(file.stem)
    role: dict[str, Any] = json.loads(file.read_text())
    role["token_policies"] = [wanted.name_of(policy) for policy in role["token_policies"]]
    claims = role["bound_claims"]
    claims["nomad_namespace"] = [wanted.namespace]
    claims["nomad_job_id"] = [wanted.name_prefix + job for job in claims["nomad_job_id"]]
    path = f"auth/{wanted.auth_mount}/role/{name}"
    have = _read(client, path)
    if not _differs(role, have):
        return
    changes.append(Change(f"role {name}", "create" if have is None else "update"))
    if not dry_run:
        client.write_data(path, data=role)


def _read(client: hvac.Client, path: str) -> dict[str, Any] | None:
    try:
        answer = client.read(path)
    except hvac.exceptions.InvalidPath:
        return None
    return dict(answer["data"]) if answer else None


def _differs(wanted: dict[str, Any], have: dict[str, Any] | None) -> bool:
    return have is None or any(have.get(key) != value for key, value in wanted.items())
