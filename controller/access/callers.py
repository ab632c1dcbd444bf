"""Who calls, and what they may do.

A caller comes from a credential (see `authentication`), never from a request's body. Where the
operator wants no credentials, everybody is `ANYONE`.
"""

from __future__ import annotations

from dataclasses import dataclass

READ, WRITE, ADMIN = "build:read", "build:write", "build:admin"
SCOPES = {
    READ: "see builds, their logs and history",
    WRITE: "submit, stop and promote builds, and clean up after them",
    ADMIN: "all of that for the builds of every owner",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with scopes. `owner` is whose builds they may touch; None: everybody's."""

    name: str
    scopes: frozenset[str]
    owner: str | None = None

    def may(self, scope: str) -> bool:
        """Whether the caller has a scope; `build:admin` holds the others."""
        return scope in self.scopes or ADMIN in self.scopes

    def may_touch(self, owner: str | None) -> bool:
        """Whether a build of `owner` is within the caller's reach."""
        return self.owner is None or ADMIN in self.scopes or owner == self.owner


ANYONE = Caller("anyone", frozenset(SCOPES))
