"""The ASGI applications: the API, and the metrics on a port of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.mcp import endpoint, server
from controller.routes import builds, health, problems, reference, streams
from controller.routes.guard import Guard
from controller.service import Service


def api(service: Service) -> Starlette:
    """The API. It serves MCP only within `serving`."""
    mcp = endpoint.Endpoint(server.product(service), service.settings.max_body)
    app = Starlette(
        routes=[
            *builds.routes,
            *streams.routes,
            *health.routes,
            *reference.routes,
            Route(endpoint.PATH, mcp),
        ],
        middleware=[Middleware(Guard, settings=service.settings)],
        exception_handlers=problems.handlers,
    )
    app.state.service = service
    app.state.mcp = mcp
    return app


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Starlette]:
    """The API with what of it runs in the background."""
    application = api(service)
    async with application.state.mcp.running():
        yield application


def metrics(service: Service) -> Starlette:
    """/metrics and nothing else."""

    async def answer(request: Request) -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", answer, methods=["GET"])])
