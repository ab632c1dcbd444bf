"""Callers' Nomad tokens, resolved by Nomad: whose a token is, and which policies it has."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass

from controller.clients.nomad import NomadClient
from controller.errors import NotFoundError, RefusedError, UnauthenticatedError, UnavailableError
from controller.recent import Recent

# Seconds. For so long a token that was revoked may still be let in; a call costs no round trip.
_KNOWN_FOR = 10.0
_AT_ONCE = 8  # who guesses tokens shall not take all connections to Nomad


@dataclass(frozen=True, slots=True)
class NomadToken:
    """What Nomad says of a token. `policies` are names of policies and of roles, with theirs."""

    accessor: str
    name: str
    management: bool
    policies: frozenset[str]


class NomadTokens:
    """Asks Nomad with the caller's own token, so that it needs no right over tokens."""

    def __init__(self, nomad: NomadClient) -> None:
        self._nomad = nomad
        self._known: Recent[tuple[float, NomadToken | None]] = Recent()
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def resolve(self, token: str) -> NomadToken:
        """The token's owner and rights. Raises UnauthenticatedError, UnavailableError."""
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(key)
        if known is None or time.monotonic() >= known[0] + _KNOWN_FOR:
            async with self._asking:
                known = (time.monotonic(), await self._ask(token))
            self._known.put(key, known)
        if known[1] is None:
            raise UnauthenticatedError(
                "Nomad does not know this token, or it has expired",
                "get a new one: nomad login, or ask who runs the cluster",
            )
        return known[1]

    async def _ask(self, token: str) -> NomadToken | None:
        try:
            said = (await self._nomad.request("GET", "/acl/token/self", token=token)).json()
            roles = [role["ID"] for role in said.get("Roles") or []]
            of_roles = await asyncio.gather(*(self._of_role(role, token) for role in roles))
        except (RefusedError, NotFoundError):
            return None
        except UnavailableError as error:
            if "ACL support disabled" not in error.message:
                raise
            raise UnavailableError(
                "nomad",
                "its ACLs are off, so it knows no tokens",
                "let the operator switch them on, or choose another auth_mode",
            ) from error
        return NomadToken(
            accessor=str(said["AccessorID"]),
            name=str(said.get("Name") or ""),
            management=said["Type"] == "management",
            policies=frozenset(said.get("Policies") or []).union(*of_roles),
        )

    async def _of_role(self, role_id: str, token: str) -> frozenset[str]:
        role = (await self._nomad.request("GET", f"/acl/role/{role_id}", token=token)).json()
        return frozenset([role["Name"], *(policy["Name"] for policy in role["Policies"] or [])])
