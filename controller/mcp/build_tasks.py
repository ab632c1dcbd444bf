"""Builds as tasks of the extension io.modelcontextprotocol/tasks.

A task's ID is the build's job_id and its state is the build's, so any replica answers for any task,
and a task lives as long as the build is known. Nothing is kept here.
"""

from __future__ import annotations

from typing import Any

from controller.access.callers import READ, WRITE
from controller.contract.log_line import utc_now
from controller.mcp import results
from controller.mcp.offer import Context, caller
from controller.operations import BY_NAME
from controller.operations.operation import admit
from controller.service import Service
from controller.status.build import Build, Status

STARTED_BY = "submitJob"
_POLL_MS = 2000
_STATUS = {
    Status.SUCCEEDED: "completed",
    Status.FAILED: "completed",  # `failed` means an error of the protocol; the result has isError
    Status.CANCELLED: "cancelled",
}


class BuildTasks:
    """The builds of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        kept = service.settings.history_retention  # counted from the build's end: so never too much
        self._ttl_ms = kept * 1000 if kept else None

    async def started(self, submitted: dict[str, Any]) -> dict[str, Any]:
        """The task of a build that was submitted: it is in Nomad, so it is durable already."""
        if submitted["created"]:
            now = utc_now()
            task = self._task(submitted["job_id"], "working", submitted["status"], now, now)
        else:
            task = self._of(await self._service.builds.get(submitted["job_id"]))
        return {"resultType": "task", **task}

    async def get(self, context: Context, task_id: str) -> dict[str, Any]:
        """The build as a task. Raises UnknownBuildError."""
        who = caller(context)
        with self._service.audit.deciding("tasks/get", who, changes=False, job_id=task_id):
            await admit(self._service, who, READ, task_id)
            build = await self._service.builds.get(task_id)
        task = self._of(build)
        if task["status"] == "completed":
            task["result"] = await self._result(context, build)
        return task

    async def cancel(self, context: Context, task_id: str) -> None:
        """Stop the build; one that is over stays as it is."""
        await BY_NAME["killJob"].run(self._service, {"job_id": task_id}, caller(context))

    async def update(self, context: Context, task_id: str, responses: dict[str, Any]) -> None:
        """A build asks nothing, so there is nothing to take."""
        who = caller(context)
        with self._service.audit.deciding("tasks/update", who, changes=False, job_id=task_id):
            await admit(self._service, who, WRITE, task_id)
            await self._service.builds.get(task_id)

    async def _result(self, context: Context, build: Build) -> dict[str, Any]:
        """What the tool would have answered, had it waited for the end."""
        failed = build.status is Status.FAILED
        name, more = ("getFailure", {}) if failed else ("waitForJob", {"timeout": 0})
        document = {"job_id": build.job_id, **more}
        answer = await BY_NAME[name].run(self._service, document, caller(context))
        result = results.answered(answer, is_error=failed)
        return {"resultType": "complete", **result.model_dump(by_alias=True, exclude_none=True)}

    def _of(self, build: Build) -> dict[str, Any]:
        times = [
            moment
            for view in build.phases.values()
            for moment in (view.started_at, view.finished_at)
            if moment
        ]
        began = build.submitted_at or utc_now()
        words = f"{build.status}: {build.message}" if build.message else str(build.status)
        return self._task(
            build.job_id,
            _STATUS.get(build.status, "working"),
            build.error or words,
            began,
            max([began, *times, build.finished_at or began]),
        )

    def _task(
        self, task_id: str, status: str, message: str, created: str, updated: str
    ) -> dict[str, Any]:
        return {
            "taskId": task_id,
            "status": status,
            "statusMessage": message,
            "createdAt": created,
            "lastUpdatedAt": updated,
            "ttlMs": self._ttl_ms,
            "pollIntervalMs": _POLL_MS,
        }
