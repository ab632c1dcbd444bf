"""Errors as HTTP answers."""

from __future__ import annotations

import http
import logging

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from controller import problem
from controller.errors import ForbiddenError, ServiceError, UnauthenticatedError
from controller.routes import challenge

log = logging.getLogger(__name__)
_NEXT = {
    404: f"{problem.PAGE} shows every path",
    405: "the header Allow names the methods of this path",
}


def response_of(error: ServiceError, connection: HTTPConnection | None = None) -> JSONResponse:
    """The answer for an error of ours; it says when to come again, or with which credential."""
    response = JSONResponse(
        problem.of(error), error.status, problem.headers(error), media_type=problem.MEDIA_TYPE
    )
    if connection and isinstance(error, UnauthenticatedError | ForbiddenError):
        response.headers["WWW-Authenticate"] = challenge.header(connection, error)
    return response


async def service_error(request: Request, error: Exception) -> Response:
    """An error of ours."""
    assert isinstance(error, ServiceError)  # noqa: S101  registered for this type
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
    return response_of(error, request)


async def http_error(request: Request, error: Exception) -> Response:
    """An error of the framework: unknown path, wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type
    phrase = http.HTTPStatus(error.status_code).phrase
    told = problem.document(
        phrase.lower().replace(" ", "_"),
        error.status_code,
        f"{phrase}: {request.method} {request.url.path}",
        _NEXT.get(error.status_code, ""),
    )
    return JSONResponse(told, error.status_code, error.headers, media_type=problem.MEDIA_TYPE)


async def unexpected(request: Request, error: Exception) -> Response:
    """A bug: logged in full, told in one line."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    told = problem.document(
        "internal_error", 500, "internal error", "the controller's log has the reason"
    )
    return JSONResponse(told, 500, media_type=problem.MEDIA_TYPE)


handlers = {ServiceError: service_error, HTTPException: http_error, Exception: unexpected}
