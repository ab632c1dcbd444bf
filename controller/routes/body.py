"""Reading a request: its body, or its path and query, as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from controller.contract import request as contract_request
from controller.errors import MalformedRequestError, RequestTooLargeError

# Who is still sending when the connection is closed may never see the answer: so what is too much
# is read and thrown away, up to this many times the limit.
_PATIENCE = 8


async def whole(request: Request, most: int) -> bytes:
    """The body. Raises MalformedRequestError, RequestTooLargeError."""
    body, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                body += chunk
            elif size > _PATIENCE * most:
                break
    except ClientDisconnect as error:
        raise MalformedRequestError("the body ended early") from error
    if size > most:
        raise RequestTooLargeError(
            f"the body is larger than {most} bytes", "large files belong into the repository"
        )
    return bytes(body)


async def json_object(request: Request, most: int) -> dict[str, Any]:
    """The body as a JSON object, whatever the content type says (as the original takes it).

    Raises MalformedRequestError, RequestTooLargeError.
    """
    body = await whole(request, most)
    try:
        document = contract_request.decode(body)
    except contract_request.RequestError as error:
        problem = error.problems[0]
        raise MalformedRequestError(f"the body {problem.problem}", problem.fix) from error
    if not isinstance(document, dict):
        raise MalformedRequestError(
            "the body is not a JSON object", 'send an object, such as {"job_id": "…"}'
        )
    return document


def query(request: Request, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Path and query parameters as a document; what the schema calls a number becomes one."""
    document: dict[str, Any] = dict(request.query_params) | dict(request.path_params)
    for name, value in document.items():
        kind = schema["properties"].get(name, {}).get("type")
        if kind == "integer" and value.lstrip("-").isdecimal():
            document[name] = int(value)
        elif kind == "boolean" and value in ("true", "false"):
            document[name] = value == "true"
    return document
