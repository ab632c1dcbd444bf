"""The extension io.modelcontextprotocol/tasks: its methods, and who may use them.

What a task is, a store says: here only the protocol is known. A client declares the extension in
every request that may give or name a task; without that it never sees one.
"""

from __future__ import annotations

from typing import Any, Protocol

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.jsonrpc import (
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from controller.mcp import refusal
from controller.mcp.offer import Context

EXTENSION = "io.modelcontextprotocol/tasks"


class Store(Protocol):
    """Where tasks are. Each method raises ServiceError or MCPError for an unknown one."""

    async def get(self, context: Context, task_id: str) -> dict[str, Any]:
        """The task as tasks/get answers it, with its result once it has one."""

    async def cancel(self, context: Context, task_id: str) -> None:
        """Stop it, if it is not over."""

    async def update(self, context: Context, task_id: str, responses: dict[str, Any]) -> None:
        """Take answers to what it asked."""


class TaskParams(types.RequestParams):
    """Which task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to a task's questions, by the question's key."""

    input_responses: dict[str, Any] | None = None


def declared(context: Context) -> bool:
    """Whether the client declares the extension in this very request."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = context.session.client_capabilities
    return bool(capabilities and EXTENSION in (capabilities.extensions or {}))


def missing() -> MCPError:
    """The refusal of a request that should have declared the extension."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"the client did not declare the extension {EXTENSION} in this request",
        {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
    )


def serve(server: Server[Any], store: Store) -> None:
    """Make a server answer the extension's methods."""

    async def get(context: Context, params: TaskParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            return await store.get(context, params.task_id)

    async def update(context: Context, params: UpdateParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            await store.update(context, params.task_id, params.input_responses or {})
        return {}

    async def cancel(context: Context, params: TaskParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            await store.cancel(context, params.task_id)
        return {}

    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", TaskParams, get)
    server.add_request_handler("tasks/update", UpdateParams, update)
    server.add_request_handler("tasks/cancel", TaskParams, cancel)


def _check(context: Context, params: TaskParams) -> None:
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
    if not declared(context):
        raise missing()
    if context.request is None:
        return
    # The SDK knows which header belongs to the protocol's own methods, not to an extension's.
    if decode_header_value(context.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "the header Mcp-Name must be params.taskId")
