"""What is wanted, and one thing that differs from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ClusterError

CREATE, UPDATE, REMOVE = "create", "update", "remove"


@dataclass(frozen=True)
class Wanted:
    """The names of a deployment.

    `jwks_url` is where Vault and Consul fetch the keys that Nomad signs workload identities with,
    `may_change_jwks` says whether it takes the place of another one that is there;
    `namespace` is the Nomad namespace the pack is deployed in; `name_prefix`, `role_prefix`,
    `auth_mount` and `kv_mount` are the pack's variables `name_prefix`, `vault_role_prefix`,
    `vault_auth_mount` and `vault_kv_mount`.
    """

    jwks_url: str = ""
    may_change_jwks: bool = True
    namespace: str = "default"
    name_prefix: str = ""
    role_prefix: str = "nbs"
    auth_mount: str = "jwt-nomad"
    kv_mount: str = "secret"

    def name_of(self, file_name: str) -> str:
        """Return the name of a policy or role whose file is called `nbs-…`."""
        return self.role_prefix + file_name.removeprefix("nbs")

    @property
    def controller_job(self) -> str:
        """Return the Nomad job ID of the controller."""
        return f"{self.name_prefix}nomad-build-service"


@dataclass(frozen=True)
class Change:
    """What it is, `create`, `update` or `remove`, the difference in words, and the deed."""

    what: str
    action: str
    detail: str
    make: Callable[[], object]

    def __str__(self) -> str:
        return f"{self.action}: {self.what}"


def require_jwks(what: str, have: str, wanted: Wanted) -> None:
    """Raise ClusterError where `what` trusts other keys already, and that may not be changed.

    Every workload that logs in by it would lose its access.
    """
    if have and have != wanted.jwks_url and not wanted.may_change_jwks:
        raise ClusterError(
            f"{what} reads its keys from {have}, not from {wanted.jwks_url}; give the right one as"
            " --jwks-url"
        )


def of_text(
    what: str, have: str | None, wanted: str, make: Callable[[], object]
) -> Iterable[Change]:
    """Yield the change from one text to another; nothing where they are the same."""
    if have is None:
        yield Change(what, CREATE, wanted.strip(), make)
    elif have.strip() != wanted.strip():
        lines = difflib.unified_diff(
            have.splitlines(), wanted.splitlines(), "now", "then", lineterm="", n=1
        )
        yield Change(what, UPDATE, "\n".join(lines), make)


def of_fields(
    what: str,
    have: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    make: Callable[[], object],
) -> Iterable[Change]:
    """Yield the change to the wanted fields; others that are there stay as they are."""
    differing = {
        name: value for name, value in wanted.items() if have is None or have.get(name) != value
    }
    if differing:
        lines = [
            f"{name} = {value}" if have is None else f"{name}: {have.get(name)} -> {value}"
            for name, value in differing.items()
        ]
        yield Change(what, CREATE if have is None else UPDATE, "\n".join(lines), make)
