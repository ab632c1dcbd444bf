"""Who may a request say that it is for, and from which web page may it come.

Against DNS rebinding: a page of an attacker's name that resolves to this service carries that name
in Host. Addresses cannot be rebound, names below .consul and localhost are not the attacker's, and
every other name has to be set. Against pages that send requests across origins: a browser says in
Origin whose page it is. Who sends no Origin is no browser, and other checks are for them.
"""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from controller.errors import ForeignOriginError, MisdirectedError, ServiceError
from controller.observability.audit import Audit
from controller.routes.peer import asked, peer
from controller.routes.problems import response_of
from controller.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses requests for foreign hosts and from foreign pages; answers CORS for allowed ones."""

    def __init__(self, app: ASGIApp, settings: Settings, audit: Audit) -> None:
        self._audit = audit
        self._hosts = tuple(name.lower() for name in settings.allowed_hosts)
        self._origins = settings.allowed_origins
        self._refusing = app
        self._sharing = CORSMiddleware(
            app,
            allow_origins=list(settings.allowed_origins),
            allow_origin_regex=r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?",
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "WWW-Authenticate", "MCP-Protocol-Version"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._refusing(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers.get("host", ""))
            self._check_origin(headers.get("origin"), headers.get("host", ""))
        except ServiceError as error:
            self._audit.refused(asked(scope), error, peer=peer(scope))
            response = response_of(error)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return
        await self._sharing(scope, receive, send)

    def _check_host(self, host: str) -> None:
        name = _name(f"//{host}")
        if name in _LOOPBACK or _is_address(name) or name.endswith(".consul"):
            return
        if not any(fnmatchcase(name, pattern) for pattern in self._hosts):
            raise MisdirectedError(
                f"this service does not answer for the host {name[:100]!r}",
                "call it by its address, or let the operator add the name to allowed_hosts",
            )

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None or origin in self._origins:
            return
        if _name(origin) in _LOOPBACK or _netloc(origin) == host.lower():
            return
        raise ForeignOriginError(
            f"web pages of {origin[:100]!r} may not call this service",
            "let the operator add it to allowed_origins",
        )


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
