"""Errors as JSON: RFC 9457 problem details within the original's envelope {error, code, details}.

`error`, `details` and `detail` are for people; `name`, `problems` and `retryable` for programs.
`type` leads to the error's entry on the page that shows the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.errors import ServiceError

MEDIA_TYPE = "application/problem+json"
PAGE = "/docs"


def document(
    name: str, status: int, message: str, details: str = "", *, retryable: bool = False
) -> dict[str, Any]:
    """A problem's document. `name` is stable, `message` and `details` say what and what next."""
    return {
        "type": f"{PAGE}#error-{name}",
        "title": name.replace("_", " "),
        "status": status,
        "detail": f"{message}; {details}" if details else message,
        "error": message,
        "code": status,
        "details": details,
        "name": name,
        "retryable": retryable,
    }


def of(error: ServiceError) -> dict[str, Any]:
    """The document of an error of ours."""
    told = document(
        error.name, error.status, error.message, error.details, retryable=error.retry_after > 0
    )
    if error.problems:
        told["problems"] = [
            {"field": one.field, "problem": one.problem, "fix": one.fix} for one in error.problems
        ]
    if error.retry_after:
        told["retry_after"] = error.retry_after
    return told


def headers(error: ServiceError) -> Mapping[str, str] | None:
    """HTTP headers that belong to an error: when to come again."""
    return {"Retry-After": str(error.retry_after)} if error.retry_after else None
