"""From a request's Authorization header to a caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.callers import ANYONE, SCOPES, Caller
from controller.clients.issuer import Issuer
from controller.contract.field_error import FieldError
from controller.contract.fields import FORMATS
from controller.errors import UnauthenticatedError
from controller.settings import Settings


class Authentication:
    """Knows callers by the operator's choice: `none`, or `jwt` of an OpenID Connect issuer."""

    def __init__(self, settings: Settings) -> None:
        self._owner_claim = settings.auth_owner_claim
        self._scope_claim = settings.auth_scope_claim
        self._default_scopes = frozenset(settings.auth_default_scopes)
        self._issuer = (
            Issuer(settings.auth_issuer, settings.auth_audience, settings.auth_jwks_url)
            if settings.auth_mode == "jwt"
            else None
        )

    @property
    def needed(self) -> bool:
        """Whether callers need a credential."""
        return self._issuer is not None

    async def caller(self, authorization: str | None) -> Caller:
        """The caller of a request. Raises UnauthenticatedError, UnavailableError."""
        if self._issuer is None:
            return ANYONE
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError(
                "a credential is needed",
                "send the header Authorization: Bearer TOKEN (nbs: NBS_TOKEN)",
            )
        return self._of(await self._issuer.claims(token.strip()))

    def _of(self, claims: Mapping[str, Any]) -> Caller:
        owner = claims.get(self._owner_claim)
        try:
            owner = FORMATS["owner"](owner)
        except FieldError as error:
            raise UnauthenticatedError(
                f"the token's claim {self._owner_claim} {error.problem}",
                "get a token that names an owner there, or set auth_owner_claim",
            ) from error
        scopes = _scopes(claims.get(self._scope_claim)) or self._default_scopes
        return Caller(str(claims.get("sub") or owner), scopes & frozenset(SCOPES), owner)


def _scopes(claim: object) -> frozenset[str]:
    """Scopes as a string with blanks between them (RFC 9068), or as a list."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(map(str, claim)) if isinstance(claim, list) else frozenset()
