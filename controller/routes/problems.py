"""Errors as JSON: the original's envelope {error, code, details}, widened."""

from __future__ import annotations

import http
import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controller.errors import ServiceError

log = logging.getLogger(__name__)


def body_of(error: ServiceError) -> dict[str, Any]:
    """The envelope: `error` and `details` are for people, `name` and `problems` for programs."""
    body: dict[str, Any] = {
        "error": error.message,
        "code": error.status,
        "details": error.details,
        "name": error.name,
    }
    if error.problems:
        body["problems"] = [
            {"field": one.field, "problem": one.problem, "fix": one.fix} for one in error.problems
        ]
    return body


def response_of(error: ServiceError) -> JSONResponse:
    """The answer for an error; 503 says when to come again."""
    headers = {"Retry-After": "5"} if error.status == 503 else None
    return JSONResponse(body_of(error), error.status, headers)


async def service_error(request: Request, error: Exception) -> Response:
    """An error of ours."""
    assert isinstance(error, ServiceError)  # noqa: S101  registered for this type
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
    return response_of(error)


async def http_error(request: Request, error: Exception) -> Response:
    """An error of the framework: unknown path, wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type
    name = http.HTTPStatus(error.status_code).phrase
    details = {404: "see the README for the paths", 405: "see the header Allow"}
    return JSONResponse(
        {
            "error": f"{name}: {request.method} {request.url.path}",
            "code": error.status_code,
            "details": details.get(error.status_code, ""),
            "name": name.lower().replace(" ", "_"),
        },
        error.status_code,
        error.headers,
    )


async def unexpected(request: Request, error: Exception) -> Response:
    """A bug: logged in full, told in one line."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(
        {
            "error": "internal error",
            "code": 500,
            "name": "internal_error",
            "details": "the controller's log has the reason",
        },
        500,
    )


handlers = {ServiceError: service_error, HTTPException: http_error, Exception: unexpected}
