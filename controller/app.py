"""The ASGI applications: the API, and the metrics on a port of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.lowlevel import Server
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.mcp import endpoint, server
from controller.routes import authenticate, builds, health, problems, reference, streams, tickets
from controller.routes.authenticate import Authenticate
from controller.routes.guard import Guard
from controller.service import Service


def api(service: Service, offered: Server[Any] | None = None) -> Starlette:
    """The API; it serves MCP only within `serving`. `offered` takes the place of our MCP server."""
    mcp = endpoint.Endpoint(offered or server.product(service), service.settings.max_body)
    app = Starlette(
        routes=[
            *builds.routes,
            *streams.routes,
            *tickets.routes,
            *health.routes,
            *reference.routes,
            Route(endpoint.PATH, mcp),
            *authenticate.routes,
        ],
        middleware=[
            Middleware(Guard, settings=service.settings, audit=service.audit),
            Middleware(Authenticate, service=service),
        ],
        exception_handlers=problems.handlers,
    )
    app.state.service = service
    app.state.mcp = mcp
    return app


@asynccontextmanager
async def serving(service: Service, offered: Server[Any] | None = None) -> AsyncIterator[Starlette]:
    """The API with what of it runs in the background."""
    application = api(service, offered)
    async with application.state.mcp.running():
        yield application


def metrics(service: Service) -> Starlette:
    """/metrics and nothing else."""

    async def answer(request: Request) -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", answer, methods=["GET"])])
