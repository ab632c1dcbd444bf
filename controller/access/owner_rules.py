"""Whether a document, of a build or of a promotion, keeps to what its owner may use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.access.owner_policy import (
    OwnerPolicy,
    allowed_host,
    is_protected,
    may_fetch,
    may_use_registry,
    may_use_secret,
    own_vault_paths,
    policy_of,
)
from controller.contract import git_names
from controller.contract.build_secrets import vault_paths
from controller.contract.json_schema import Problem
from controller.settings import Settings

_IMAGE_FIELDS = ("image", "destination")


class OwnerRules:
    """The rules of the settings for a document: of a build or of a promotion."""

    def __init__(self, settings: Settings) -> None:
        self._policies = settings.owner_policies
        anybody = not settings.auth_modes  # then an owner is only a claim
        self._default_paths = ("**",) if anybody else own_vault_paths(settings.vault_kv_mount)
        self._git_hosts = settings.git_hosts
        self._git_protocols = settings.git_protocols

    def policy(self, owner: str) -> OwnerPolicy:
        """The policy of an owner."""
        return policy_of(self._policies, owner)

    def protected(self, owner: str, tags: Sequence[str]) -> list[str]:
        """Those of the tags that may not name an image with a patch in it."""
        policy = self.policy(owner)
        return [tag for tag in tags if is_protected(policy, owner, tag)]

    def problems(self, document: Mapping[str, Any]) -> list[Problem]:
        """Everything that the owner may not use; fields that are missing are not looked at."""
        owner = str(document.get("owner") or "")
        policy = self.policy(owner)
        whose = f"owner {owner!r}" if owner else "a request without an owner"
        found = list(self._of_url(document.get("repo_url"), policy, owner, whose))
        images = [(field, document.get(field)) for field in _IMAGE_FIELDS]
        images += [
            (f"additional_repositories[{number}].image", further["image"])
            for number, further in enumerate(document.get("additional_repositories") or ())
        ]
        for field, name in images:
            if name and not may_use_registry(policy, owner, name):
                at = "registry_url" if field == "image" and "registry_url" in document else field
                shown = policy.registries or ()
                found.append(Problem(at, f"{name!r} is not open to {whose}", _fix(shown)))
        if document.get("patch"):
            found += [
                Problem(
                    f"image_tags[{number}]",
                    f"{tag!r} is protected: a build with a patch may not publish it",
                    "use another tag, or push the change and build its commit",
                )
                for number, tag in enumerate(document.get("image_tags") or [])
                if tag in self.protected(owner, [tag])
            ]
        for field, path in vault_paths(document):
            if not may_use_secret(policy, owner, path, self._default_paths):
                allowed = policy.vault_paths
                shown = self._default_paths[1::2] if allowed is None else allowed
                found.append(Problem(field, f"{path!r} is not open to {whose}", _fix(shown)))
        return found

    def _of_url(
        self, url: str | None, policy: OwnerPolicy, owner: str, whose: str
    ) -> Iterator[Problem]:
        if not url:
            return
        if (used := git_names.protocol(url)) not in self._git_protocols:
            yield Problem(
                "repo_url",
                f"uses {used}, which the operator does not allow",
                f"use one of {', '.join(self._git_protocols)}",
            )
        if not allowed_host(self._git_hosts, url):
            yield Problem(
                "repo_url",
                f"is on {git_names.host(url)}, which the operator does not allow",
                f"allowed hosts: {', '.join(self._git_hosts)}",
            )
        if not may_fetch(policy, owner, url):
            location = git_names.location(url)
            problem = f"{location!r} is not open to {whose}"
            if location is None:
                problem = "has a path that can be read in more than one way"
            yield Problem("repo_url", problem, _fix(policy.repositories or ()))


def _fix(allowed: Sequence[str]) -> str:
    if not allowed:
        return "nothing is allowed here: ask the operator to change owner_policies"
    shown = ", ".join(allowed[:5]) + (", …" if len(allowed) > 5 else "")
    return f"use one that matches {shown}, or ask the operator to change owner_policies"
