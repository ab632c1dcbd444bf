"""Every operation as a tool."""

from __future__ import annotations

import mcp_types as types
from mcp.server.context import HandlerResult

from controller.mcp import build_tasks, tasks, tool_schema
from controller.mcp.offer import Context, Tool, caller
from controller.mcp.progress import Notifications
from controller.mcp.results import answered
from controller.operations import OPERATIONS
from controller.operations.operation import Operation
from controller.service import Service

_WHOLE_JOB_CONFIG = "submitJob"


def of(service: Service) -> list[Tool]:
    """The tools, in the order of the operations."""
    return [_tool(service, operation) for operation in OPERATIONS]


def _tool(service: Service, operation: Operation) -> Tool:
    async def call(context: Context, params: types.CallToolRequestParams) -> HandlerResult:
        given = dict(params.arguments or {})
        for name, value in operation.tool_defaults.items():
            if given.get(name) is None:
                given[name] = value
        progress = Notifications(context)
        try:
            answer = await operation.run(service, given, caller(context), progress)
        finally:
            progress.over()
        if operation.name == build_tasks.STARTED_BY and tasks.declared(context):
            return await build_tasks.BuildTasks(service).started(answer)
        return answered(answer)

    return Tool(listed(operation), call, operation.scope)


def listed(operation: Operation) -> types.Tool:
    """An operation as clients see it."""
    effects = operation.effects
    return types.Tool(
        name=operation.name,
        title=operation.title,
        description=operation.description,
        input_schema=tool_schema.input_schema(
            operation, whole_job_config=operation.name == _WHOLE_JOB_CONFIG
        ),
        output_schema=tool_schema.output_schema(operation),
        annotations=types.ToolAnnotations(
            read_only_hint=effects.read_only,
            destructive_hint=effects.destructive,
            idempotent_hint=effects.idempotent,
            open_world_hint=effects.open_world,
        ),
    )
