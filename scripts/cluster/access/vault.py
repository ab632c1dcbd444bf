"""In Vault: a KV store, JWT login for Nomad's workload identities, a policy and role a phase."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import hvac
import hvac.exceptions

from ..errors import ClusterError
from ..paths import REPOSITORY
from .change import CREATE, REMOVE, Change, Wanted, of_fields, of_text, require_jwks

FILES = REPOSITORY / "nomad" / "vault"
POLICIES = sorted((FILES / "policies").glob("*.hcl"))
_KEPT = ("default_role", "jwks_ca_pem", "bound_issuer")
ROLES = sorted((FILES / "roles").glob("*.json"))


def plan(client: hvac.Client, wanted: Wanted) -> Iterator[Change]:
    """Yield what differs; ClusterError where the mount is something else."""
    yield from _kv(client, wanted)
    yield from _auth(client, wanted)
    for file in POLICIES:
        name = wanted.name_of(file.stem)
        text = file.read_text().replace('path "secret/', f'path "{wanted.kv_mount}/')
        write = partial(client.sys.create_or_update_policy, name, text)
        yield from of_text(f"Vault policy {name}", _policy(client, name), text, write)
    for file in ROLES:
        name = wanted.name_of(file.stem)
        path = f"auth/{wanted.auth_mount}/role/{name}"
        role = _role(file.read_text(), wanted)
        write = partial(client.write_data, path, data=role)
        yield from of_fields(f"Vault role {name}", _read(client, path), role, write)


def removal(client: hvac.Client, wanted: Wanted) -> Iterator[Change]:
    """Yield what of ours is there. The KV store stays: it holds other people's secrets."""
    mount = wanted.auth_mount
    ours = {wanted.name_of(file.stem) for file in ROLES}
    if f"{mount}/" in client.sys.list_auth_methods()["data"]:
        listed = client.list(f"auth/{mount}/role") or {"data": {"keys": []}}
        there = set(listed["data"]["keys"])
        for name in sorted(ours & there):
            delete = partial(client.delete, f"auth/{mount}/role/{name}")
            yield Change(f"Vault role {name}", REMOVE, "", delete)
        if not there - ours:
            disable = partial(client.sys.disable_auth_method, mount)
            yield Change(f"Vault auth method {mount}", REMOVE, "no other role uses it", disable)
    for file in POLICIES:
        name = wanted.name_of(file.stem)
        if _policy(client, name) is not None:
            drop = partial(client.sys.delete_policy, name)
            yield Change(f"Vault policy {name}", REMOVE, "", drop)


def _kv(client: hvac.Client, wanted: Wanted) -> Iterator[Change]:
    mount = client.sys.list_mounted_secrets_engines()["data"].get(wanted.kv_mount + "/")
    if mount is None:
        enable = partial(
            client.sys.enable_secrets_engine, "kv", path=wanted.kv_mount, options={"version": "2"}
        )
        yield Change(f"Vault secrets engine {wanted.kv_mount}", CREATE, "kv version 2", enable)
    elif mount["type"] != "kv" or (mount.get("options") or {}).get("version") != "2":
        raise ClusterError(
            f"Vault's mount {wanted.kv_mount}/ is not a KV version 2 store; name another one"
            " (--kv-mount) or upgrade it with `vault kv enable-versioning`"
        )


def _auth(client: hvac.Client, wanted: Wanted) -> Iterator[Change]:
    mount = wanted.auth_mount
    config = {"jwks_url": wanted.jwks_url, "jwt_supported_algs": ["RS256", "EdDSA"]}
    have: dict[str, Any] | None = {}
    if f"{mount}/" not in client.sys.list_auth_methods()["data"]:
        enable = partial(client.sys.enable_auth_method, "jwt", path=mount)
        yield Change(f"Vault auth method {mount}", CREATE, "jwt", enable)
    else:
        have = _read(client, f"auth/{mount}/config") or {}
        require_jwks(f"Vault auth method {mount}", have.get("jwks_url", ""), wanted)
        if have.get("oidc_discovery_url") or have.get("jwt_validation_pubkeys"):
            raise ClusterError(
                f"Vault's auth method {mount} verifies in another way than by jwks_url; name"
                " another one (--auth-mount)"
            )
    # Vault takes a new configuration for all there is: what others have set stays with it.
    kept = {name: value for name, value in (have or {}).items() if value and name in _KEPT}
    write = partial(client.write_data, f"auth/{mount}/config", data={**kept, **config})
    yield from of_fields(f"configuration of Vault auth method {mount}", have, config, write)


def _role(text: str, wanted: Wanted) -> dict[str, Any]:
    role: dict[str, Any] = json.loads(text)
    role["token_policies"] = [wanted.name_of(policy) for policy in role["token_policies"]]
    claims = role["bound_claims"]
    claims["nomad_namespace"] = [wanted.namespace]
    claims["nomad_job_id"] = [wanted.name_prefix + job for job in claims["nomad_job_id"]]
    return role


def _policy(client: hvac.Client, name: str) -> str | None:
    try:
        return str(client.sys.read_policy(name)["data"]["rules"])
    except hvac.exceptions.InvalidPath:
        return None


def _read(client: hvac.Client, path: str) -> dict[str, Any] | None:
    try:
        answer = client.read(path)
    except hvac.exceptions.InvalidPath:
        return None
    return dict(answer["data"]) if answer else None
