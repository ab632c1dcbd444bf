"""An OpenID Connect issuer's signing keys: found by discovery, kept, and fetched again on rotation.

Only its keys are fetched: tokens are verified here, so that a call costs no round trip.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from controller.errors import UnauthenticatedError, UnavailableError

# Signatures by a private key only: with a shared secret whoever verifies could also sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_TIMEOUT = 5.0  # seconds
_AGAIN = 10.0  # seconds between two fetches because of a key that is not known
_FRESH = 600.0  # seconds after which keys are fetched again anyway: so long a withdrawn one counts
_OLDEST = 3600.0  # seconds for which keys count while the issuer does not answer
_LEEWAY = 60  # seconds by which clocks may differ


class Issuer:
    """Verifies the tokens of one issuer."""

    def __init__(self, issuer: str, audience: str, jwks_url: str = "", *, cacert: str = "") -> None:
        self._trust = ssl.create_default_context(cafile=cacert) if cacert else True
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried = self._fetched = float("-inf")  # time.monotonic()
        self._lock = asyncio.Lock()

    async def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a valid token. Raises UnauthenticatedError, UnavailableError."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(header.get("kid"), header.get("alg"))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer or None,
                leeway=_LEEWAY,
                options={"require": ["exp", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(
                f"the token is not valid: {_words(error)}",
                f"get a new token of {self._issuer or 'the issuer'} for the audience "
                f"{self._audience}",
            ) from error
        return claims

    async def _key(self, kid: object, algorithm: object) -> jwt.PyJWK:
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError(f"algorithm {str(algorithm)[:20]!r} is not accepted")
        for patience in (_FRESH, _AGAIN):
            now = time.monotonic()
            if now - self._fetched > patience and now - self._tried > _AGAIN:
                await self._fetch()
            if (key := self._keys.get(str(kid))) is not None:
                return key
        raise jwt.InvalidKeyError("the issuer has no such key")

    async def _fetch(self) -> None:
        seen = self._tried
        async with self._lock:
            if self._tried != seen:
                return  # another call has tried meanwhile
            self._tried = time.monotonic()
            if self._tried - self._fetched > _OLDEST:
                self._keys = {}
            try:
                async with httpx.AsyncClient(
                    timeout=_TIMEOUT, trust_env=False, verify=self._trust
                ) as http:
                    url = self._jwks_url or await self._discover(http)
                    found = (await http.get(url)).raise_for_status().json()
                keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(found) if key.key_id}
            except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
                if self._keys:
                    return  # those that are known may do
                raise UnavailableError(
                    "issuer", f"its keys cannot be read: {type(error).__name__}"
                ) from error
            self._keys = {str(kid): key for kid, key in keys.items()}
            self._fetched = time.monotonic()

    async def _discover(self, http: httpx.AsyncClient) -> str:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = (await http.get(url)).raise_for_status().json()
        if found["issuer"] != self._issuer:
            raise ValueError("the discovery document is of another issuer")
        return str(found["jwks_uri"])


def _words(error: jwt.PyJWTError) -> str:
    """What is wrong; PyJWT's own words name claims, never the token."""
    return str(error) or type(error).__name__
