"""Sends one webhook to addresses that were checked, and to no others.

The name is resolved once. The connection is made to one of those very addresses, so that a second
answer of DNS cannot lead elsewhere; Host, SNI and the certificate's check keep the name. There are
no proxies, redirects, cookies or connections kept for the next one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import httpx

from controller.contract.webhook_fields import WebhookUrl
from controller.webhooks import lookup

WITHIN = 10.0  # seconds for one try, from the name to the answer
_CONNECT = 4.0  # seconds for one address, so that there is time for another one
_MOST_ADDRESSES = 4
_MOST_BODY = 64 << 10  # bytes of the answer; they are dropped


class SendError(Exception):
    """Nobody answered; the words hold neither path, query nor headers."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is looked at in an answer."""

    status: int
    retry_after: str | None


async def resolve(url: WebhookUrl) -> list[str]:
    """The addresses of the host. Raises SendError."""
    try:
        return await lookup.addresses(url.host, url.port)
    except (OSError, UnicodeError) as error:
        raise SendError(f"{url.host} cannot be resolved: {error}") from error


async def post(
    url: WebhookUrl,
    addresses: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    cacert: str = "",
) -> Response:
    """POST to the first of the addresses that takes a connection. Raises SendError.

    `cacert` is the file of an authority that is trusted beside those of the system.
    """
    async with httpx.AsyncClient(
        verify=_trust(cacert),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(WITHIN, connect=_CONNECT),
        headers={"Accept": "*/*", "Connection": "close"},
    ) as client:
        failed = "there is no address"
        for address in addresses[:_MOST_ADDRESSES]:
            host = f"[{address}]" if ":" in address else address
            request = client.build_request(
                "POST",
                f"{url.scheme}://{host}:{url.port}{url.target}",
                headers={**headers, "Host": url.authority},
                content=body,
                extensions={"sni_hostname": url.host},
            )
            try:
                return await _answer(client, request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = f"no connection to {url.shown}: {_words(error)}"
            except httpx.HTTPError as error:
                # Its words may quote what was sent.
                raise SendError(f"no answer of {url.shown}: {type(error).__name__}") from error
        raise SendError(failed)


async def _answer(client: httpx.AsyncClient, request: httpx.Request) -> Response:
    response = await client.send(request, stream=True)
    try:
        read = 0
        try:
            async for piece in response.aiter_raw(8192):
                read += len(piece)
                if read >= _MOST_BODY:
                    break
        except httpx.HTTPError:
            pass  # the status was there, which is what counts
        return Response(response.status_code, response.headers.get("Retry-After"))
    finally:
        await response.aclose()


def _words(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


@cache
def _trust(cacert: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cacert:
        context.load_verify_locations(cacert)
    return context
