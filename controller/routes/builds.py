"""Every operation as `POST /mcp/NAME` and `POST /json/NAME`, and the original's GET paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from controller.errors import ServiceError
from controller.operations import BY_NAME, OPERATIONS
from controller.operations.operation import Operation
from controller.routes import body
from controller.service import Service

Endpoint = Callable[[Request], Awaitable[JSONResponse]]
BASES = ("/mcp", "/json")


def _post(operation: Operation) -> Endpoint:
    async def endpoint(request: Request) -> JSONResponse:
        service: Service = request.app.state.service
        try:
            document = await body.json_object(request, service.settings.max_body)
        except ServiceError as error:
            service.audit.refused(operation.name, error, request.state.caller)
            raise
        return JSONResponse(await operation.run(service, document, request.state.caller))

    return endpoint


def _get(operation: Operation) -> Endpoint:
    async def endpoint(request: Request) -> JSONResponse:
        service: Service = request.app.state.service
        document = body.query(request, operation.input_schema)
        return JSONResponse(await operation.run(service, document, request.state.caller))

    return endpoint


routes = [
    *(
        Route(f"{base}/{operation.name}", _post(operation), methods=["POST"])
        for base in BASES
        for operation in OPERATIONS
    ),
    *(
        Route(f"{base}/job/{{job_id:path}}/{what}", _get(BY_NAME[name]), methods=["GET"])
        for base in BASES
        for what, name in (("status", "getStatus"), ("logs", "getLogs"))
    ),
]
