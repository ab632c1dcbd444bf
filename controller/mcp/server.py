"""The protocol server: lists what is offered, hands calls on, and refuses what does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from controller import __version__
from controller.errors import ServiceError
from controller.mcp import build_prompts, refusal, tasks, tools
from controller.mcp.build_resources import BuildResources
from controller.mcp.build_tasks import BuildTasks
from controller.mcp.instructions import INSTRUCTIONS
from controller.mcp.offer import Context, Offer, caller
from controller.service import Service

NAME = "nomad-build-service"
_SUGGESTIONS = 100  # as many as the protocol allows
# Lists change only with the service's version; builds change all the time.
_STABLE = CacheHint(ttl_ms=300_000, scope="public")
_OWN = CacheHint(ttl_ms=300_000, scope="private")  # the tools that a caller may use
_LIVE = CacheHint(ttl_ms=2000, scope="private")


def product(service: Service) -> Server[Any]:
    """The server of this service."""
    offer = Offer(
        resources=BuildResources(service),
        tools=tools.of(service),
        prompts=build_prompts.of(service),
    )
    server = of(offer)
    tasks.serve(server, BuildTasks(service))
    return server


def of(offer: Offer) -> Server[Any]:
    """A server of anything that is offered."""
    one = _Handlers(offer)
    made: Server[Any] = Server(
        NAME,
        version=__version__,
        title="Nomad Build Service",
        description="Builds, tests and publishes container images on a Nomad cluster.",
        instructions=INSTRUCTIONS,
        cache_hints={
            "server/discover": _STABLE,
            "tools/list": _OWN,
            "prompts/list": _STABLE,
            "resources/templates/list": _STABLE,
            "resources/list": _LIVE,
            "resources/read": _LIVE,
        },
        get_tool_input_schema=one.schema_with_headers,
        on_list_tools=one.list_tools,
        on_call_tool=one.call_tool,  # type: ignore[arg-type]  # a task is a result too
        on_list_prompts=one.list_prompts,
        on_get_prompt=one.get_prompt,  # type: ignore[arg-type]
        on_list_resources=one.list_resources,
        on_list_resource_templates=one.list_templates,
        on_read_resource=one.read_resource,
        on_completion=one.complete,
    )
    made.middleware.clear()  # spans for OpenTelemetry, which nobody collects: an eighth of a call
    return made


class _Handlers:
    def __init__(self, offer: Offer) -> None:
        self._tools = {tool.listed.name: tool for tool in offer.tools}
        self._prompts = {prompt.listed.name: prompt for prompt in offer.prompts}
        self._resources = offer.resources
        self._with_headers = {
            name: tool.listed.input_schema
            for name, tool in self._tools.items()
            if "x-mcp-header" in str(tool.listed.input_schema)
        }

    def schema_with_headers(self, name: str) -> dict[str, Any] | None:
        """The schema by which the SDK checks Mcp-Param headers; None where there are none."""
        return self._with_headers.get(name)

    async def list_tools(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        refusal.no_cursor(params)
        may = caller(context).may
        shown = [tool.listed for tool in self._tools.values() if may(tool.scope)]
        return types.ListToolsResult(tools=shown)

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> HandlerResult:
        tool = self._tools.get(params.name)
        if tool is None:
            raise refusal.invalid(
                f"Unknown tool: {params.name[:200]}", "call one of `tools`", tools=[*self._tools]
            )
        try:
            return await tool.call(context, params)
        except MCPError:
            raise
        except ServiceError as error:
            return refusal.tool_error(error)
        except Exception as error:
            return refusal.unexpected(params.name, error)

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        refusal.no_cursor(params)
        return types.ListPromptsResult(prompts=[prompt.listed for prompt in self._prompts.values()])

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> HandlerResult:
        prompt = self._prompts.get(params.name)
        if prompt is None:
            raise refusal.invalid(
                f"Unknown prompt: {params.name[:200]}",
                "get one of `prompts`",
                prompts=[*self._prompts],
            )
        return await prompt.get(context, params)

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        refusal.no_cursor(params)
        return types.ListResourcesResult(resources=list(await self._resources.listed(context)))

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        refusal.no_cursor(params)
        return types.ListResourceTemplatesResult(resource_templates=list(self._resources.templates))

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return await self._resources.read(context, str(params.uri))

    async def complete(
        self, context: Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        argument, value = params.argument.name, params.argument.value
        found: Sequence[str] | None
        if isinstance(params.ref, types.PromptReference):
            prompt = self._prompts.get(params.ref.name)
            found = None if prompt is None else await prompt.complete(context, argument, value)
        else:
            found = await self._resources.complete(context, params.ref.uri, argument, value)
        if found is None:
            raise refusal.invalid("unknown reference", "see prompts/list, resources/templates/list")
        return types.CompleteResult(
            completion=types.Completion(
                values=list(found[:_SUGGESTIONS]),
                total=len(found),
                has_more=len(found) > _SUGGESTIONS,
            )
        )
