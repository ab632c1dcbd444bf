"""Receivers of webhooks: one POST, to an address that was checked and to no other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from controller.addresses import Addresses

_TIMEOUT = 10.0  # seconds for everything that one try takes
_MOST = 1 << 16  # bytes of an answer that are read; nothing is done with them


class UnreachableError(Exception):
    """Nobody answered, or not in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A receiver's status, and the seconds after which it wants to be asked again (0: unsaid)."""

    status: int
    retry_after: float = 0.0


class Receiver:
    """Sends to what `Addresses` lets through; follows no redirect and uses no proxy."""

    def __init__(self, addresses: Addresses, cacert: str = "") -> None:
        self._addresses = addresses
        self._trust = ssl.create_default_context(cafile=cacert or None)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """POST once. Raises UnreachableError, ForbiddenAddressError."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(_TIMEOUT):
                *others, last = await self._addresses.resolve(host, port)
                for address in others:
                    try:
                        return await self._to(address, port, parts, content, headers)
                    except httpx.ConnectError:
                        continue
                return await self._to(last, port, parts, content, headers)
        except TimeoutError as error:
            raise UnreachableError(f"{host} did not answer within {_TIMEOUT:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise UnreachableError(f"{host}: {type(error).__name__}") from error

    async def _to(
        self,
        address: str,
        port: int,
        parts: SplitResult,
        content: bytes,
        headers: Mapping[str, str],
    ) -> Answer:
        """POST to this address; certificate and Host are those of the name."""
        at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        async with httpx.AsyncClient(
            verify=self._trust, trust_env=False, follow_redirects=False, timeout=_TIMEOUT
        ) as http:
            request = http.build_request(
                "POST",
                urlunsplit((parts.scheme, at, parts.path or "/", parts.query, "")),
                content=content,
                headers={**headers, "Host": parts.netloc},
                extensions={"sni_hostname": parts.hostname},
            )
            response = await http.send(request, stream=True)
            try:
                read = 0
                async for chunk in response.aiter_raw():
                    read += len(chunk)
                    if read > _MOST:
                        break
            finally:
                await response.aclose()
            return Answer(response.status_code, _seconds(response.headers.get("retry-after")))


def _seconds(text: str | None) -> float:
    """Seconds of a Retry-After; its other form, a date, is passed over."""
    return float(text) if text and text.isascii() and text.isdigit() else 0.0
