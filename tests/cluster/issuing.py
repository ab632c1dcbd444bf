"""An OpenID Connect issuer for tests, the cluster's Vault, and calls with its tokens."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from builds import Builds

from cluster.cluster import Cluster
from cluster.git_repository import GitRepository

ALL = "build:read build:write"
SECRETS = "nomad-build-service"


@dataclass
class Issuer:
    """An issuer of tokens with a role of its own in Vault."""

    vault: Any
    url: str
    role: str
    audience: str
    mount: str
    cacert: Path

    def token(self, owner: str, scope: str = ALL) -> str:
        """A token of a person of `owner`, as their login would give it."""
        name = f"{owner}-{uuid.uuid4().hex[:6]}"
        accessor = self.vault.sys.list_auth_methods()["data"][f"{self.mount}/"]["accessor"]
        entity = self.vault.secrets.identity.create_or_update_entity(
            name=name, metadata={"team": owner, "scope": scope}
        )["data"]["id"]
        self.vault.secrets.identity.create_or_update_entity_alias(
            name=name, canonical_id=entity, mount_accessor=accessor
        )
        path = f"{self.mount}/users/{name}"
        self.vault.write_data(f"auth/{path}", data={"password": "p", "token_policies": [self.role]})
        login = self.vault.auth.userpass.login(name, "p", mount_point=self.mount, use_token=False)[
            "auth"
        ]["client_token"]
        answer = httpx.get(
            f"{self.vault.url}/v1/identity/oidc/token/{self.role}",
            headers={"X-Vault-Token": login},
            verify=ssl.create_default_context(cafile=self.cacert),
        )
        token: str = answer.raise_for_status().json()["data"]["token"]
        return token

    def rotate(self) -> None:
        """Sign with a new key from now on; tokens of the old one stay valid."""
        self.vault.write_data(
            f"identity/oidc/key/{self.role}/rotate", data={"verification_ttl": "1h"}
        )


@contextmanager
def issuing(cluster: Cluster) -> Iterator[Issuer]:
    """An issuer of its own in the cluster's Vault."""
    vault = cluster.vault.client()
    role = f"callers-{uuid.uuid4().hex[:6]}"
    vault.sys.enable_auth_method("userpass", path=role)
    vault.write_data(f"identity/oidc/key/{role}", data={"allowed_client_ids": ["*"]})
    template = (
        '{"team": {{identity.entity.metadata.team}}, "scope": {{identity.entity.metadata.scope}}}'
    )
    vault.write_data(
        f"identity/oidc/role/{role}", data={"key": role, "template": template, "ttl": "1h"}
    )
    audience = vault.read(f"identity/oidc/role/{role}")["data"]["client_id"]
    vault.sys.create_or_update_policy(
        role, f'path "identity/oidc/token/{role}" {{ capabilities = ["read"] }}'
    )
    configured = vault.read("identity/oidc/config")["data"]["issuer"]
    yield Issuer(
        vault,
        f"{configured or vault.url}/v1/identity/oidc",
        role,
        audience,
        role,
        cluster.state.cacert,
    )
    vault.sys.disable_auth_method(role)


def settings_of(issuer: Issuer, **more: str) -> dict[str, str]:
    """Settings of a controller whose callers come from an issuer."""
    return {
        "NBS_AUTH_MODE": "jwt",
        "NBS_AUTH_ISSUER": issuer.url,
        "NBS_AUTH_CACERT": str(issuer.cacert),
        "NBS_AUTH_AUDIENCE": issuer.audience,
        "NBS_AUTH_OWNER_CLAIM": "team",
        **more,
    }


def give_secrets(cluster: Cluster, *owners: str) -> None:
    """Store credentials of each owner's own for the cluster's Git server and registry."""
    git, registry = cluster.git_http, cluster.registry
    for owner in owners:
        login = {"username": git.username, "password": git.password}
        cluster.vault_put(f"{SECRETS}/git/{owner}", login)
        login = {"username": registry.username, "password": registry.password}
        cluster.vault_put(f"{SECRETS}/registry/{owner}", login)


def request_of(
    builds: Builds, owner: str, repository: GitRepository | None = None, **fields: Any
) -> dict[str, Any]:
    """A request as a caller of `owner` sends it: with credentials of their own, without owner."""
    own = {
        "owner": None,
        "git_credentials_path": f"secret/{SECRETS}/git/{owner}",
        "registry_credentials_path": f"secret/{SECRETS}/registry/{owner}",
    }
    return builds.request(repository or builds.dockerfile(), **(own | fields))


def call(
    address: str, name: str, document: Mapping[str, Any], token: str | None = None
) -> httpx.Response:
    """One operation over REST."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{address}/mcp/{name}", json=document, headers=headers, timeout=60)
