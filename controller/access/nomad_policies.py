"""What Nomad's ACL policies and roles allow here: the operator's setting `auth_nomad_policies`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from controller.access.callers import SCOPES


@dataclass(frozen=True, slots=True)
class PolicyGrant:
    """What one of Nomad's ACL policies or roles allows: scopes, and whose builds.

    `policy` is a name that may hold one `*`; in `owner`, `*` stands for what it matched.
    """

    policy: str
    scopes: frozenset[str]
    owner: str = ""

    def match(self, name: str) -> str | None:
        """The owner (empty: none is named) where the policy has this name, else None."""
        before, star, after = self.policy.partition("*")
        if not star:
            return self.owner if name == self.policy else None
        fits = name.startswith(before) and name.endswith(after)
        matched = name[len(before) : len(name) - len(after)]
        return self.owner.replace("*", matched) if fits and matched else None


def parse(text: str) -> tuple[PolicyGrant, ...]:
    """The grants that an operator writes as JSON. Raises ValueError."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object with names of policies")
    grants = []
    for policy, one in given.items():
        if policy.count("*") > 1:
            raise ValueError(f"{policy!r} holds more than one *")
        if not isinstance(one, dict) or not set(one) <= {"scopes", "owner"}:
            raise ValueError(f'{policy!r} must have "scopes" and, if need be, "owner"')
        scopes = one.get("scopes") or ""
        names = frozenset(scopes.split() if isinstance(scopes, str) else scopes)
        if not names or not names <= set(SCOPES):
            raise ValueError(f"{policy!r} needs scopes out of {', '.join(SCOPES)}")
        grants.append(PolicyGrant(policy, names, str(one.get("owner") or "")))
    return tuple(grants)
