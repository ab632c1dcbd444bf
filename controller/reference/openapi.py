"""The OpenAPI 3.1 document of the REST API."""

from __future__ import annotations

import http
from collections.abc import Iterable
from functools import cache
from typing import Any

from controller import __version__, errors, problem
from controller.job_config import schema_of
from controller.operations import BY_NAME, OPERATIONS
from controller.operations.documents import OneJob
from controller.operations.operation import Operation

_ANYWHERE: tuple[type[errors.ServiceError], ...] = (
    errors.MalformedRequestError,
    errors.ForeignOriginError,
    errors.RequestTooLargeError,
    errors.MisdirectedError,
    errors.InvalidFieldsError,
    errors.ServiceError,
    errors.RefusedError,
    errors.UnavailableError,
)
_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details, with the original's error, code and details.",
    "required": ["type", "title", "status", "detail", "error", "code", "details", "name"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": _NUMBER,
        "detail": _TEXT,
        "error": {"type": "string", "description": "What is wrong."},
        "code": {"type": "integer", "description": "The HTTP status."},
        "details": {"type": "string", "description": "What to do next."},
        "name": {"type": "string", "description": "The error's stable name."},
        "retryable": _FLAG,
        "retry_after": {"type": "integer", "description": "Seconds."},
        "problems": {
            "type": "array",
            "description": "Every field that is wrong.",
            "items": {
                "type": "object",
                "required": ["field", "problem", "fix"],
                "properties": {"field": _TEXT, "problem": _TEXT, "fix": _TEXT},
            },
        },
    },
}
_GETS = {"status": "getStatus", "logs": "getLogs"}


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    for base in ("/mcp", "/json"):
        for operation in OPERATIONS:
            paths[f"{base}/{operation.name}"] = {"post": _post(operation, base)}
        for what, name in _GETS.items():
            paths[f"{base}/job/{{job_id}}/{what}"] = {"get": _get(BY_NAME[name], base)}
        paths[f"{base}/streamLogs"] = {"get": _stream(base)}
        paths[f"{base}/streamTicket"] = {"post": _ticket(base)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nomad Build Service",
            "version": __version__,
            "description": "Git repositories with a Dockerfile into tested, published images. "
            "The same calls below /mcp and /json; the same as tools of the MCP server at /mcp.",
        },
        "paths": paths | {"/health": {"get": _health()}, "/ready": {"get": _ready()}},
        "components": {"schemas": {"Problem": PROBLEM}},
    }


def refusals(operation: Operation) -> list[type[errors.ServiceError]]:
    """Every error that a call may end with, by status."""
    return sorted({*_ANYWHERE, *operation.refusals}, key=lambda error: (error.status, error.name))


def _post(operation: Operation, base: str) -> dict[str, Any]:
    schema: dict[str, Any] = operation.input_schema
    if operation.takes_job_config:
        wrapped = {
            "type": "object",
            "required": ["job_config"],
            "properties": {"job_config": schema},
            "additionalProperties": False,
        }
        schema = {"oneOf": [schema, wrapped]}
    return _described(operation, base) | {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": _responses(operation),
    }


def _get(operation: Operation, base: str) -> dict[str, Any]:
    parameters = [
        {
            "name": name,
            "in": "path" if name == "job_id" else "query",
            "required": name == "job_id",
            "description": part.get("description", ""),
            "schema": part,
        }
        for name, part in operation.input_schema["properties"].items()
    ]
    told = _described(operation, base)
    told["operationId"] += "ByPath"
    return told | {"parameters": parameters, "responses": _responses(operation)}


def _described(operation: Operation, base: str) -> dict[str, Any]:
    prefix = "" if base == "/mcp" else "json_"
    return {
        "operationId": prefix + operation.name,
        "summary": operation.title,
        "description": operation.description,
        "tags": [base.strip("/")],
    }


def _responses(operation: Operation) -> dict[str, Any]:
    return {"200": _answer(operation.output_schema, operation.title)} | _problems(
        refusals(operation)
    )


def _problems(kinds: Iterable[type[errors.ServiceError]]) -> dict[str, Any]:
    told: dict[str, list[str]] = {}
    for kind in kinds:
        told.setdefault(str(kind.status), []).append(kind.name)
    content = {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    wait = {"Retry-After": {"description": "Seconds.", "schema": _NUMBER}}
    return {
        status: {
            "description": f"{http.HTTPStatus(int(status)).phrase}: {', '.join(names)}",
            "content": content,
            **({"headers": wait} if status in ("429", "503") else {}),
        }
        for status, names in told.items()
    }


def _answer(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _stream(base: str) -> dict[str, Any]:
    prefix = "" if base == "/mcp" else "json_"
    cursor = "The position to go on from: an event's id, or any answer's cursor."
    return {
        "operationId": f"{prefix}streamLogs",
        "summary": "Log of a build as it is written",
        "description": "Server-Sent Events; a WebSocket with the same messages on upgrade. Events: "
        "status, phase, log, missed, end.",
        "tags": [base.strip("/")],
        "parameters": [
            {"name": "job_id", "in": "query", "required": True, "schema": _TEXT},
            {"name": "after", "in": "query", "description": cursor, "schema": _TEXT},
            {"name": "Last-Event-ID", "in": "header", "description": cursor, "schema": _TEXT},
            {
                "name": "ticket",
                "in": "query",
                "description": "A ticket of streamTicket, where no credential can be sent.",
                "schema": _TEXT,
            },
        ],
        "responses": {
            "200": {"description": "Events", "content": {"text/event-stream": {"schema": _TEXT}}}
        }
        | _problems([*_ANYWHERE, errors.UnknownBuildError, errors.InvalidTicketError]),
    }


def _ticket(base: str) -> dict[str, Any]:
    prefix = "" if base == "/mcp" else "json_"
    answer = {
        "type": "object",
        "required": ["ticket", "expires_in", "url"],
        "properties": {
            "ticket": {"type": "string", "description": "Opens one stream of this build, once."},
            "expires_in": {"type": "integer", "description": "Seconds."},
            "url": {"type": "string", "description": "Path and query of the stream to open."},
        },
    }
    return {
        "operationId": f"{prefix}streamTicket",
        "summary": "Ticket for a log stream",
        "description": "For browsers, whose EventSource and WebSocket cannot send a credential: "
        "get a ticket with the credential, then open `url`. Scope build:read. No tool: agents "
        "send their credential with every request.",
        "tags": [base.strip("/")],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema_of(OneJob)}},
        },
        "responses": {"200": _answer(answer, "Ticket for a log stream")}
        | _problems([*_ANYWHERE, errors.UnknownBuildError, errors.TooManyTicketsError]),
    }


def _health() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status", "services", "timestamp"],
        "properties": {
            "status": {"enum": ["healthy", "unhealthy"]},
            "services": {"type": "object", "additionalProperties": _TEXT},
            "problems": {"type": "object", "additionalProperties": _TEXT},
            "timestamp": _TEXT,
        },
    }
    return {
        "operationId": "health",
        "summary": "Do the dependencies answer",
        "responses": {
            "200": _answer(schema, "All answer"),
            "503": _answer(schema, "At least one does not"),
        },
    }


def _ready() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status", "timestamp", "version", "settings"],
        "properties": {
            "status": {"enum": ["ready", "unavailable"]},
            "timestamp": _TEXT,
            "version": _TEXT,
            "problem": {"type": ["string", "null"]},
            "settings": {"type": "object"},
        },
    }
    return {
        "operationId": "ready",
        "summary": "Can builds be started, and with which settings",
        "responses": {"200": _answer(schema, "Yes"), "503": _answer(schema, "No")},
    }
