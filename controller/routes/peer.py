"""What the audit tells of a request whose caller is not known."""

from __future__ import annotations

from starlette.types import Scope


def asked(scope: Scope) -> str:
    """Method and path; never the query, which may hold a ticket."""
    return f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"


def peer(scope: Scope) -> str | None:
    """The address that the request came from: of a proxy, where there is one."""
    client = scope.get("client")
    return client[0] if client else None
