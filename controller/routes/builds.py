"""The seed's endpoints: submitJob, getStatus, getLogs, killJob."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from controller import cursor
from controller.routes import body
from controller.service import Service


async def submit_job(request: Request) -> JSONResponse:
    """Start a build: the request as such, or as {"job_config": …}."""
    service: Service = request.app.state.service
    document = await body.json_object(request, service.settings.max_body)
    job_id, new = await service.dispatch.submit(document)
    status = "PENDING" if new else str((await service.builds.get(job_id)).status)
    return JSONResponse({"job_id": job_id, "status": status, "created": new})


async def get_status(request: Request) -> JSONResponse:
    """Where a build is, with its failure or its digest."""
    service: Service = request.app.state.service
    document = await body.json_object(request, service.settings.max_body)
    build = await service.builds.get(body.job_id(document))
    return JSONResponse(build.shown())


async def get_logs(request: Request) -> JSONResponse:
    """Log lines by phase; {"job_id", "phase"?, "tail"?, "after"?}."""
    service: Service = request.app.state.service
    document = await body.json_object(request, service.settings.max_body)
    after = body.text(document, "after")
    answer = await service.logs.answer(
        body.job_id(document),
        phase=body.phase(document),
        tail=body.tail(document),
        after=cursor.parse(after) if after else None,
    )
    return JSONResponse(answer)


async def kill_job(request: Request) -> JSONResponse:
    """Stop a build."""
    service: Service = request.app.state.service
    document = await body.json_object(request, service.settings.max_body)
    job_id = body.job_id(document)
    success, message = await service.dispatch.kill(job_id)
    return JSONResponse({"job_id": job_id, "success": success, "message": message})


_ENDPOINTS = {
    "submitJob": submit_job,
    "getStatus": get_status,
    "getLogs": get_logs,
    "killJob": kill_job,
}
routes = [
    Route(f"/{base}/{name}", endpoint, methods=["POST"])
    for base in ("mcp", "json")
    for name, endpoint in _ENDPOINTS.items()
]
