"""What a server offers: tools, prompts and resources, each listed and then used.

The server, its transport and its refusals do not know what is offered. So the conformance suite's
fixtures run through the same code as the service does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext

from controller.access.callers import READ, Caller

Context = ServerRequestContext[Any, Any]


def caller(context: Context) -> Caller:
    """Who sent the request, as `routes.authenticate` found out."""
    if context.request is None:
        raise RuntimeError("a message without its HTTP request has no caller")
    found: Caller = context.request.state.caller
    return found


async def no_suggestions(context: Context, argument: str, value: str) -> Sequence[str]:
    """Completion of what cannot be guessed."""
    return ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as listed, and what calling it does. Raises ServiceError, MCPError.

    Who lacks `scope` does not see it listed.
    """

    listed: types.Tool
    call: Callable[[Context, types.CallToolRequestParams], Awaitable[HandlerResult]]
    scope: str = READ


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as listed, what it says, and how its arguments are completed."""

    listed: types.Prompt
    get: Callable[[Context, types.GetPromptRequestParams], Awaitable[HandlerResult]]
    complete: Callable[[Context, str, str], Awaitable[Sequence[str]]] = no_suggestions


class Resources(Protocol):
    """Resources, their templates, and their contents."""

    @property
    def templates(self) -> Sequence[types.ResourceTemplate]:
        """URI templates of what can be read."""

    async def listed(self, context: Context) -> Sequence[types.Resource]:
        """Some resources that there are now, a bounded number."""

    async def read(self, context: Context, uri: str) -> types.ReadResourceResult:
        """The contents of a resource. Raises MCPError for an unknown one."""

    async def complete(
        self, context: Context, template: str, argument: str, value: str
    ) -> Sequence[str] | None:
        """Values of a template's variable; None for an unknown template."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that a server offers, in the order in which it is listed."""

    resources: Resources
    tools: Sequence[Tool] = field(default=())
    prompts: Sequence[Prompt] = field(default=())
