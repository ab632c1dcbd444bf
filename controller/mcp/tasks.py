"""The extension io.modelcontextprotocol/tasks: a submitted build as a task.

A task's ID is the build's job_id and the task's state is the build's, so any replica answers for
any task, and a task lives as long as the build is known. A client that does not declare the
extension in the request gets no task: it calls waitForJob.
"""

from __future__ import annotations

import logging
from typing import Any

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

from controller.build import Build, Status
from controller.contract.log_line import utc_now
from controller.mcp import refusal, results
from controller.mcp.offer import Context
from controller.operations import BY_NAME
from controller.service import Service

log = logging.getLogger(__name__)

EXTENSION = "io.modelcontextprotocol/tasks"
STARTED_BY = ("submitJob",)
_TTL_MS = 24 * 3600 * 1000  # the history keeps a build for longer
_POLL_MS = 2000
_STATUS = {
    Status.SUCCEEDED: "completed",
    Status.FAILED: "completed",  # `failed` means an error of the protocol; the result has isError
    Status.CANCELLED: "cancelled",
}


class TaskParams(types.RequestParams):
    """Which task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to a task's questions; a build never asks any."""

    input_responses: dict[str, Any] | None = None


def declared(context: Context) -> bool:
    """Whether the client declares the extension in this very request."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = context.session.client_capabilities
    return bool(capabilities and EXTENSION in (capabilities.extensions or {}))


async def started(service: Service, submitted: dict[str, Any]) -> dict[str, Any]:
    """The task of a build that was submitted: it is in Nomad, so it is durable already."""
    if submitted["created"]:
        now = utc_now()
        task = _task(submitted["job_id"], "working", submitted["status"], now, now)
    else:
        task = _of(await service.builds.get(submitted["job_id"]))
    return {"resultType": "task", **task}


def serve(server: Server[Any], service: Service) -> None:
    """Make a server answer the extension's methods."""

    async def get(context: Context, params: TaskParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            build = await service.builds.get(params.task_id)
            task = _of(build)
            if task["status"] == "completed":
                task["result"] = await _result(service, build)
        return task

    async def update(context: Context, params: UpdateParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            await service.builds.get(params.task_id)
        return {}

    async def cancel(context: Context, params: TaskParams) -> dict[str, Any]:
        _check(context, params)
        with refusal.as_json_rpc():
            await BY_NAME["killJob"].run(service, {"job_id": params.task_id})
        return {}

    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", TaskParams, get)
    server.add_request_handler("tasks/update", UpdateParams, update)
    server.add_request_handler("tasks/cancel", TaskParams, cancel)


def _check(context: Context, params: TaskParams) -> None:
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
    if not declared(context):
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"the client did not declare the extension {EXTENSION} in this request",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )
    if context.request is None:
        return
    header = context.request.headers.get(MCP_NAME_HEADER)
    if decode_header_value(header) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "the header Mcp-Name must be params.taskId")


def _of(build: Build) -> dict[str, Any]:
    times = [
        moment
        for view in build.phases.values()
        for moment in (view.started_at, view.finished_at)
        if moment
    ]
    began = build.submitted_at or utc_now()
    words = f"{build.status}: {build.message}" if build.message else str(build.status)
    return _task(
        build.job_id,
        _STATUS.get(build.status, "working"),
        build.error or words,
        began,
        max([began, *times, build.finished_at or began]),
    )


def _task(task_id: str, status: str, message: str, created: str, updated: str) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "status": status,
        "statusMessage": message,
        "createdAt": created,
        "lastUpdatedAt": updated,
        "ttlMs": _TTL_MS,
        "pollIntervalMs": _POLL_MS,
    }


async def _result(service: Service, build: Build) -> dict[str, Any]:
    """What the tool would have answered, had it waited for the end."""
    failed = build.status is Status.FAILED
    name, more = ("getFailure", {}) if failed else ("waitForJob", {"timeout": 0})
    answer = await BY_NAME[name].run(service, {"job_id": build.job_id, **more})
    result = results.answered(answer, is_error=failed)
    return {"resultType": "complete", **result.model_dump(by_alias=True, exclude_none=True)}
