"""What an owner may use: repositories, registries, Vault paths. One function a rule, no I/O.

The policies are the operator's (setting `owner_policies`). Exactly one applies to an owner: the one
of its very name, else the one with the longest pattern, `*` last; what that one does not say has
the default. Owners are names, so in a policy's name `*` stands for slashes too: no odd name falls
out of a policy that is meant for everybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from controller.contract import git_names
from controller.contract.patterns import any_matches, matches

KINDS = ("build", "git", "pull", "registry", "webhook")  # below nomad-build-service/ in Vault


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """What owners of a name or pattern may use. None: the default; 0: no limit."""

    owner: str
    repositories: tuple[str, ...] | None = None
    registries: tuple[str, ...] | None = None
    vault_paths: tuple[str, ...] | None = None
    protected_tags: tuple[str, ...] | None = None
    max_running: int = 0
    max_queued: int = 0


def parse(text: str) -> tuple[OwnerPolicy, ...]:
    """The policies that an operator writes as JSON. Raises ValueError."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object from owners to what they may use")
    known = {item.name for item in fields(OwnerPolicy)} - {"owner"}
    found = []
    for owner, one in given.items():
        if not isinstance(one, dict):
            raise ValueError(f"{owner!r} must be a JSON object with any of {sorted(known)}")
        if unknown := sorted(one.keys() - known):  # a misspelt rule would allow everything
            raise ValueError(f"{owner!r} has {unknown}; known are {sorted(known)}")
        values = {name: value for name, value in one.items() if value is not None}
        found.append(OwnerPolicy(owner, **{name: _rule(name, values[name]) for name in values}))
    return tuple(found)


def _rule(name: str, value: Any) -> Any:
    if name.startswith("max_"):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        return value
    if not isinstance(value, list) or not all(one and isinstance(one, str) for one in value):
        raise ValueError(f"{name} must be a list of patterns, not {value!r}")
    return tuple(value)


_NONE = OwnerPolicy("")


def policy_of(policies: Sequence[OwnerPolicy], owner: str) -> OwnerPolicy:
    """The most specific policy for an owner; one without rules where none is for it."""
    fitting = [one for one in policies if _names(one.owner, owner)]
    return max(fitting, key=lambda one: (one.owner == owner, len(one.owner)), default=_NONE)


def _names(pattern: str, owner: str) -> bool:
    return pattern == owner or matches(pattern.replace("**", "*").replace("*", "**"), owner)


def may_fetch(policy: OwnerPolicy, owner: str, url: str) -> bool:
    """Whether the owner may build this repository, however its URL is written."""
    if policy.repositories is None:
        return True
    location = git_names.location(url)
    return location is not None and any_matches(policy.repositories, location, owner)


def may_use_registry(policy: OwnerPolicy, owner: str, repository: str) -> bool:
    """Whether the owner may publish to, or promote from, an image's repository."""
    if policy.registries is None:
        return True
    host, _, path = repository.partition("/")
    return any_matches(policy.registries, f"{host.lower()}/{path}", owner)


def is_protected(policy: OwnerPolicy, owner: str, tag: str) -> bool:
    """Whether a tag may not name an image that holds changes which were never pushed."""
    return any_matches(policy.protected_tags or (), tag, owner)


def may_use_secret(policy: OwnerPolicy, owner: str, path: str, default: Sequence[str]) -> bool:
    """Whether the owner may use a Vault path; `default` are the patterns of who has no rule."""
    allowed = default if policy.vault_paths is None else policy.vault_paths
    mount, _, rest = path.partition("/")
    return any_matches(allowed, f"{mount}/{rest.removeprefix('data/')}", owner)


def own_vault_paths(mount: str) -> tuple[str, ...]:
    """Patterns of an owner's own prefix, for each kind of credential."""
    below = f"{mount}/nomad-build-service"
    return tuple(
        pattern
        for kind in KINDS
        for pattern in (f"{below}/{kind}/{{owner}}", f"{below}/{kind}/{{owner}}/**")
    )


def allowed_host(hosts: Sequence[str], url: str) -> bool:
    """Whether builds may fetch from a Git server at all; no hosts: from any."""
    return not hosts or any_matches(hosts, git_names.host(url))
