"""From a request's Authorization header to a caller.

Which credentials count is the operator's choice (`auth_mode`): none at all, tokens of an OpenID
Connect issuer (`jwt`), Nomad's own tokens (`nomad`), or both of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller.access.callers import ADMIN, ANYONE, SCOPES, Caller
from controller.access.nomad_policies import PolicyGrant
from controller.clients.issuer import Issuer
from controller.clients.nomad import NomadClient
from controller.clients.nomad_tokens import NomadToken, NomadTokens
from controller.contract.field_error import FieldError
from controller.contract.fields import FORMATS
from controller.errors import UnauthenticatedError
from controller.settings import Settings

# Nomad's tokens are UUIDs; no JWT looks like one.
_NOMAD_TOKEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Authentication:
    """Knows callers by their credentials."""

    def __init__(self, settings: Settings, nomad: NomadClient) -> None:
        self._owner_claim = settings.auth_owner_claim
        self._scope_claim = settings.auth_scope_claim
        self._default_scopes = frozenset(settings.auth_default_scopes)
        self._required = dict(claim.split("=", 1) for claim in settings.auth_required_claims)
        self._grants = settings.auth_nomad_policies
        self._issuer = (
            Issuer(
                settings.auth_issuer,
                settings.auth_audience,
                settings.auth_jwks_url,
                cacert=settings.auth_cacert,
            )
            if "jwt" in settings.auth_modes
            else None
        )
        self._tokens = NomadTokens(nomad) if "nomad" in settings.auth_modes else None

    @property
    def needed(self) -> bool:
        """Whether callers need a credential."""
        return self._issuer is not None or self._tokens is not None

    async def caller(self, authorization: str | None) -> Caller:
        """The caller of a request. Raises UnauthenticatedError, UnavailableError."""
        if not self.needed:
            return ANYONE
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError(
                "a credential is needed",
                "send the header Authorization: Bearer TOKEN (nbs: NBS_TOKEN)",
            )
        if self._tokens and _NOMAD_TOKEN.fullmatch(token):
            return _of_token(await self._tokens.resolve(token), self._grants)
        if self._issuer:
            return self._of_claims(await self._issuer.claims(token))
        raise UnauthenticatedError("this is not a Nomad token", "send one: it is a UUID")

    def _of_claims(self, claims: Mapping[str, Any]) -> Caller:
        for name, value in self._required.items():
            if str(claims.get(name)) != value:
                raise UnauthenticatedError(
                    f"the token's claim {name} is not {value}", "get a token that has it"
                )
        owner = _owner(
            claims.get(self._owner_claim),
            f"the token's claim {self._owner_claim}",
            "get a token that names an owner there, or set auth_owner_claim",
        )
        scopes = _scopes(claims.get(self._scope_claim)) or self._default_scopes
        return Caller(str(claims.get("sub") or owner), scopes & frozenset(SCOPES), owner)


def _of_token(token: NomadToken, grants: Iterable[PolicyGrant]) -> Caller:
    # Names are not unique: all who log in through one method have the same.
    name = f"{token.name} ({token.accessor})" if token.name else token.accessor
    if token.management:
        return Caller(name, frozenset(SCOPES))
    scopes: set[str] = set()
    owners: set[str] = set()
    for grant in grants:
        for policy in token.policies:
            if (matched := grant.match(policy)) is not None:
                scopes |= grant.scopes
                owners |= {matched} if matched else set()
    if len(owners) > 1 and ADMIN not in scopes:
        raise UnauthenticatedError(
            f"the token's policies name several owners: {', '.join(sorted(owners))}",
            "use a token with the policies of one",
        )
    owner = _owner(
        min(owners, default=token.accessor),
        "the owner that the token names",
        "name an owner for its policy in auth_nomad_policies",
    )
    return Caller(name, frozenset(scopes), owner)


def _owner(value: object, what: str, fix: str) -> str:
    try:
        return str(FORMATS["owner"](value))
    except FieldError as error:
        raise UnauthenticatedError(f"{what} {error.problem}", fix) from error


def _scopes(claim: object) -> frozenset[str]:
    """Scopes as a string with blanks between them (RFC 9068), or as a list."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(map(str, claim)) if isinstance(claim, list) else frozenset()
