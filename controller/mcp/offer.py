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

Context = ServerRequestContext[Any, Any]
Contents = types.TextResourceContents | types.BlobResourceContents


async def no_suggestions(argument: str, value: str) -> Sequence[str]:
    """Completion of what cannot be guessed."""
    return ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as listed, and what calling it does. Raises ServiceError, MCPError."""

    listed: types.Tool
    call: Callable[[Context, types.CallToolRequestParams], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as listed, what it says, and how its arguments are completed."""

    listed: types.Prompt
    get: Callable[[Context, types.GetPromptRequestParams], Awaitable[HandlerResult]]
    complete: Callable[[str, str], Awaitable[Sequence[str]]] = no_suggestions


class Resources(Protocol):
    """Resources, their templates, and their contents."""

    @property
    def templates(self) -> Sequence[types.ResourceTemplate]:
        """URI templates of what can be read."""

    async def listed(self) -> Sequence[types.Resource]:
        """Some resources that there are now, a bounded number."""

    async def read(self, uri: str) -> types.ReadResourceResult:
        """The contents of a resource. Raises MCPError for an unknown one."""

    async def complete(self, template: str, argument: str, value: str) -> Sequence[str] | None:
        """Values of a template's variable; None for an unknown template."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that a server offers, in the order in which it is listed."""

    resources: Resources
    tools: Sequence[Tool] = field(default=())
    prompts: Sequence[Prompt] = field(default=())
