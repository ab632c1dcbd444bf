"""The ASGI applications: the API, and the metrics on a port of their own."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.routes import builds, health, problems, reference, streams
from controller.routes.guard import Guard
from controller.service import Service


def api(service: Service) -> Starlette:
    """The API."""
    app = Starlette(
        routes=[*builds.routes, *streams.routes, *health.routes, *reference.routes],
        middleware=[Middleware(Guard, settings=service.settings)],
        exception_handlers=problems.handlers,
    )
    app.state.service = service
    return app


def metrics(service: Service) -> Starlette:
    """/metrics and nothing else."""

    async def answer(request: Request) -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", answer, methods=["GET"])])
