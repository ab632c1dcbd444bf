"""Reading a request's body and its fields, with bounds."""

from __future__ import annotations

from typing import Any

from starlette.requests import ClientDisconnect, Request

from controller.contract import request as contract_request
from controller.contract.json_schema import Problem
from controller.contract.results import PHASES
from controller.errors import InvalidFieldsError, MalformedRequestError, RequestTooLargeError


async def json_object(request: Request, most: int) -> dict[str, Any]:
    """The body as a JSON object, whatever the content type says (as the original takes it).

    Raises MalformedRequestError, RequestTooLargeError.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise RequestTooLargeError(
                    f"the body is larger than {most} bytes",
                    "large files belong into the repository",
                )
    except ClientDisconnect as error:
        raise MalformedRequestError("the body ended early") from error
    try:
        document = contract_request.decode(bytes(body))
    except contract_request.RequestError as error:
        problem = error.problems[0]
        raise MalformedRequestError(f"the body {problem.problem}", problem.fix) from error
    if not isinstance(document, dict):
        raise MalformedRequestError(
            "the body is not a JSON object", 'send an object, such as {"job_id": "…"}'
        )
    return document


def job_id(document: dict[str, Any]) -> str:
    """The field job_id. Raises InvalidFieldsError."""
    value = document.get("job_id")
    if not isinstance(value, str) or not value:
        raise InvalidFieldsError(
            [Problem("job_id", "is missing", "give the id that submitJob returned")]
        )
    return value


def phase(document: dict[str, Any]) -> str | None:
    """The field phase; None for all."""
    value = document.get("phase")
    if value in (None, ""):
        return None
    if value not in PHASES:
        raise InvalidFieldsError(
            [
                Problem(
                    "phase",
                    f"{value!r} is not a phase",
                    f"one of {', '.join(PHASES)}, or leave it out",
                )
            ]
        )
    return str(value)


def tail(document: dict[str, Any]) -> int | None:
    """The field tail: a number of lines."""
    value = document.get("tail")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise InvalidFieldsError(
            [
                Problem(
                    "tail",
                    "is not a number of lines",
                    "give an integer of at least 1, or leave it out",
                )
            ]
        )
    return value


def text(document: dict[str, Any], name: str) -> str | None:
    """An optional field of text."""
    value = document.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise InvalidFieldsError([Problem(name, "is not a string", "give a string, or leave it out")])
