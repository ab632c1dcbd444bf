"""What a caller gets instead of an answer: as a tool's error for the model, or as JSON-RPC's.

A call that was understood and failed is the model's to mend: it gets the problem document that REST
gives, and the call to make next. A request that is malformed, or names what does not exist in the
protocol's own terms, is the client's to mend: JSON-RPC's invalid params.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from controller import problem
from controller.errors import ServiceError

log = logging.getLogger(__name__)

_NEXT = {
    "unknown_job": 'call getHistory {"limit": 10} for the builds there are',
    "invalid_fields": "mend the fields in `problems`, then make the same call again",
    "malformed_request": "mend the arguments, then make the same call again",
    "idempotency_conflict": "call submitJob again with a new idempotency_key",
    "request_too_large": "move what is long into the repository, then call submitJob again",
}
_LATER = "make the same call again after retry_after seconds"
_OPERATOR = "the same call will not help: tell the operator of this service"


def document(error: ServiceError) -> dict[str, Any]:
    """The problem document of an error, with the call to make next."""
    told = problem.of(error)
    told["next"] = _LATER if error.retry_after else _NEXT.get(error.name, _next(error))
    return told


def _next(error: ServiceError) -> str:
    return _OPERATOR if error.status >= 500 else "mend the arguments, then call again"


def tool_error(error: ServiceError) -> types.CallToolResult:
    """A failed call as a tool's result.

    It has no structured content: clients check that against the output schema, errors or not.
    """
    return _failed(document(error))


def unexpected(name: str, error: Exception) -> types.CallToolResult:
    """A bug: logged in full, told in one line."""
    log.error("tool %s failed", name, exc_info=error)
    told = problem.document(
        "internal_error", 500, "internal error", "the controller's log has the reason"
    )
    return _failed({**told, "next": _OPERATOR})


def _failed(told: dict[str, Any]) -> types.CallToolResult:
    text = types.TextContent(text=json.dumps(told, ensure_ascii=False))
    return types.CallToolResult(content=[text], is_error=True)


def invalid(message: str, next_step: str, **data: Any) -> MCPError:
    """JSON-RPC's invalid params: what is wrong, and what to do."""
    return MCPError(types.INVALID_PARAMS, message, {**data, "next": next_step})


@contextmanager
def as_json_rpc() -> Iterator[None]:
    """Turn an error of ours into JSON-RPC's, where there is no tool's result to put it into."""
    try:
        yield
    except ServiceError as error:
        code = types.INVALID_PARAMS if error.status < 500 else types.INTERNAL_ERROR
        raise MCPError(code, error.message, document(error)) from error


def no_cursor(params: types.PaginatedRequestParams | None) -> None:
    """Refuse every cursor: the lists are short and have one page, so no cursor was ever given."""
    if params is not None and params.cursor is not None:
        raise invalid("unknown cursor", "ask for the list again without a cursor")
