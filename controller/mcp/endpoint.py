"""`/mcp` over HTTP: one POST, one answer, no session, whichever revision the client speaks.

The SDK's transport does the protocol. Refused before it: other methods (a GET would hold a stream
open on which nothing is ever sent), bodies that are too large, and batches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

PATH = "/mcp"
_PATIENCE = 8  # times the largest body


class Endpoint:
    """The ASGI application of one server. It serves only within `running`."""

    def __init__(self, server: Server[Any], max_body: int) -> None:
        self._most = max_body
        # Host and Origin are checked for the whole API already.
        self._transport = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=max_body
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until the context ends; then every open request ends."""
        async with self._transport.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        refused: JSONResponse | None
        if request.method != "POST":
            refused = _refused(405, types.INVALID_REQUEST, "POST is the only method", Allow="POST")
            await refused(scope, receive, send)
            return
        if not all(check_accept_headers(request)):
            message = "the header Accept must name application/json and text/event-stream"
            await _refused(406, types.INVALID_REQUEST, message)(scope, receive, send)
            return
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return
        refused = self._refusal(body)
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._transport.handle_request(scope, _replay(body, receive), send)

    async def _body(self, request: Request) -> bytes:
        """The body, or a little more than is allowed of it.

        What is too much is read all the same, up to a point: a client that is still sending when
        the connection is closed may never see the answer.
        """
        body, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if len(body) <= self._most:
                body += chunk
            elif size > _PATIENCE * self._most:
                break
        return bytes(body)

    def _refusal(self, body: bytes) -> JSONResponse | None:
        if len(body) > self._most:
            return _refused(
                413, types.INVALID_REQUEST, f"the body is larger than {self._most} bytes"
            )
        if body.lstrip()[:1] == b"[":
            return _refused(
                400, types.INVALID_REQUEST, "batches are not supported: send one message a request"
            )
        return None


def _refused(status: int, code: int, message: str, **headers: str) -> JSONResponse:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return JSONResponse(error, status, headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what really comes: the disconnect."""
    first = True

    async def next_message() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return next_message
