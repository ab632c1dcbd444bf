"""/health: each dependency; /ready: can builds be started, and with which settings."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from controller import __version__
from controller.access.callers import ADMIN
from controller.contract.log_line import utc_now
from controller.errors import ServiceError
from controller.service import Service


async def health(request: Request) -> JSONResponse:
    """200 while every dependency answers, else 503; the original's shape with reasons."""
    service: Service = request.app.state.service
    problems = await service.health.check()
    services = {name: "unhealthy" if problem else "healthy" for name, problem in problems.items()}
    operator = await _is_operator(request)
    told = {
        name: problem if operator else "the controller's log says why"
        for name, problem in problems.items()
        if problem
    }
    body = {
        "status": "unhealthy" if told else "healthy",
        "services": services,
        "problems": told,
        "timestamp": utc_now(),
    }
    return JSONResponse(body, 503 if told else 200)


async def ready(request: Request) -> JSONResponse:
    """200 while builds can be started: Nomad answers and has a leader."""
    service: Service = request.app.state.service
    problem = await service.health.check_nomad()
    body: dict[str, Any] = {
        "status": "unavailable" if problem else "ready",
        "timestamp": utc_now(),
        "version": __version__,
        "problem": problem,
    }
    if await _is_operator(request):
        body["settings"] = service.settings.shown()
    elif problem:
        body["problem"] = "the controller's log says why"
    return JSONResponse(body, 503 if problem else 200)


async def _is_operator(request: Request) -> bool:
    """Whether to tell settings and reasons: where callers are known, to build:admin only."""
    service: Service = request.app.state.service
    if not service.authentication.needed:
        return True
    try:
        caller = await service.authentication.caller(request.headers.get("authorization"))
    except ServiceError:
        return False
    return caller.may(ADMIN)


routes = [Route("/health", health, methods=["GET"]), Route("/ready", ready, methods=["GET"])]
