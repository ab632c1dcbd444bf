"""Finds out who calls, before anything else is done for a request, and says how to come in.

The caller is left in the request's state.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from controller.access.callers import SCOPES, Caller
from controller.errors import (
    ForbiddenError,
    NotFoundError,
    ServiceError,
)
from controller.operations import BY_NAME
from controller.operations.operation import named_in
from controller.routes import body, challenge, streams
from controller.routes.peer import asked, peer
from controller.routes.problems import response_of
from controller.service import Service

_OPEN = ("/", "/docs", "/openapi.json", "/health", "/ready", *challenge.METADATA_PATHS)
_MCP = "/mcp"


class Authenticate:
    """Sets `state.caller` of every request; refuses those without a valid credential."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._authentication = service.authentication
        self._tickets = service.tickets
        self._audit = service.audit
        self._settings = service.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the caller, then pass on."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            connection.state.caller = caller = await self._caller(connection)
            if scope["path"] == _MCP and not all(map(caller.may, SCOPES)):
                receive = await self._check_tool(Request(scope, receive), caller)
        except ServiceError as error:
            response = response_of(error, connection)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _caller(self, connection: HTTPConnection) -> Caller:
        """The caller, by credential or by ticket."""
        scope, query = connection.scope, connection.query_params
        try:
            if scope["path"] in streams.PATHS and "ticket" in query:
                return await self._tickets.redeem(query["ticket"], query.get("job_id", ""))
            return await self._authentication.caller(connection.headers.get("authorization"))
        except ServiceError as error:
            self._audit.refused(asked(scope), error, peer=peer(scope))
            raise

    async def _check_tool(self, request: Request, caller: Caller) -> Receive:
        """Refuse a tool beyond the caller's scopes as HTTP, where a client can ask for more.

        The body is read for that, and given again to who reads it next.
        """
        content = await body.whole(request, self._settings.max_body)
        name, arguments = _tool(content)
        operation = BY_NAME.get(name)
        if operation and not caller.may(operation.scope):
            error = ForbiddenError(operation.scope)
            self._audit.refused(operation.name, error, caller, **named_in(arguments, caller))
            raise error
        messages: list[Message] = [{"type": "http.request", "body": content}]

        async def again() -> Message:
            return messages.pop() if messages else await request.receive()

        return again


async def metadata(request: Request) -> JSONResponse:
    """Protected resource metadata (RFC 9728): where to get a credential, and its scopes."""
    service: Service = request.app.state.service
    settings = service.settings
    if not service.authentication.needed:
        raise NotFoundError("this service asks for no credential", "call it without one")
    told: dict[str, Any] = {
        "resource": f"{challenge.base_url(request)}{_MCP}",
        "authorization_servers": [settings.auth_issuer] if settings.auth_issuer else [],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": "Nomad Build Service",
    }
    return JSONResponse(told, headers={"Cache-Control": "max-age=3600"})


def _tool(body: bytes) -> tuple[str, Any]:
    """The tool that a JSON-RPC request calls, and with what; empty where it calls none."""
    try:
        called = json.loads(body)
        params = called["params"] if called["method"] == "tools/call" else {"name": ""}
        return str(params["name"]), params.get("arguments")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", None


routes = [Route(path, metadata, methods=["GET"]) for path in challenge.METADATA_PATHS]
