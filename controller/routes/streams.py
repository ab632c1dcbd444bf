"""streamLogs: one sequence of events, framed as WebSocket messages or as Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from controller import cursor, problem
from controller.access.callers import READ
from controller.contract.json_schema import Problem
from controller.errors import InvalidFieldsError, ServiceError
from controller.logs.stream import StreamEvent
from controller.operations.operation import admit
from controller.routes.problems import response_of
from controller.service import Service

log = logging.getLogger(__name__)
_SEND_WITHIN = 60.0  # seconds; a client that takes nothing for so long has gone
_RESTARTS, _WENT_WRONG = 1012, 1011  # WebSocket close codes
_RETRY = 1000  # milliseconds after which an EventSource comes again

Events = AsyncIterator[StreamEvent]


async def _begin(connection: HTTPConnection, after: str | None) -> Events:
    """The events, after the first one is known: so an unknown build is an error, not a stream."""
    service: Service = connection.app.state.service
    query = connection.query_params
    job_id = query.get("job_id")
    if not job_id:
        raise InvalidFieldsError([Problem("job_id", "is missing", "add ?job_id=… to the address")])
    caller, with_ticket = connection.state.caller, "ticket" in query
    with service.audit.deciding(  # who has used a ticket has changed something: it is gone
        "streamLogs", caller, changes=with_ticket, job_id=job_id, ticket=with_ticket
    ):
        await admit(service, caller, READ, job_id)
        events = service.log_streams.watch(job_id, cursor.parse(after) if after else None)
        first = await anext(events, None)

    async def all_events() -> Events:
        async with aclosing(events):  # type: ignore[type-var]  # it is an async generator
            if first is not None:
                yield first
            async for event in events:
                yield event

    return all_events()


async def _deliver(
    events: Events,
    send: Callable[[StreamEvent], Awaitable[None]],
    gone: Callable[[], Awaitable[None]],
) -> StreamEvent | None:
    """Send events until they end or the client leaves; the last event that was sent."""
    last: StreamEvent | None = None

    async def copy() -> None:
        nonlocal last
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                async with asyncio.timeout(_SEND_WITHIN):
                    await send(event)
                last = event

    copying, leaving = asyncio.ensure_future(copy()), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({copying, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (copying, leaving):
            task.cancel()
        told = await asyncio.gather(copying, leaving, return_exceptions=True)
    error = told[0]
    if isinstance(error, ServiceError):
        raise error
    if isinstance(error, Exception) and not isinstance(
        error, TimeoutError | OSError | WebSocketDisconnect
    ):
        log.error("a log stream failed", exc_info=error)
        raise ServiceError("the stream failed", "the controller's log has the reason") from error
    return last


async def _framed(events: Events) -> AsyncIterator[ServerSentEvent]:
    """The events as Server-Sent Events; the id of each is the cursor to go on from."""
    yield ServerSentEvent(retry=_RETRY, sep="\n")
    try:
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if event.kind == "keepalive":
                    yield ServerSentEvent(comment="still here", sep="\n")
                else:
                    yield ServerSentEvent(_json(event), event=event.kind, id=event.cursor, sep="\n")
    except ServiceError as error:
        yield JSONServerSentEvent(problem.of(error), event="error", sep="\n")


def _json(event: StreamEvent) -> str:
    return json.dumps({"event": event.kind, **event.data}, ensure_ascii=False)


async def stream_sse(request: Request) -> EventSourceResponse:
    """GET streamLogs without upgrade; `Last-Event-ID` or `?after=` resumes."""
    after = request.headers.get("last-event-id") or request.query_params.get("after")
    events = await _begin(request, after)
    # Signs of life are among the events: no pings beside them.
    return EventSourceResponse(_framed(events), ping=0, send_timeout=_SEND_WITHIN, sep="\n")


async def stream_websocket(socket: WebSocket) -> None:
    """GET streamLogs with upgrade; `?after=` resumes. Each message is one event as JSON."""
    try:
        events = await _begin(socket, socket.query_params.get("after"))
    except ServiceError as error:
        await socket.send_denial_response(response_of(error, socket))
        return
    await socket.accept()

    async def gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    async def send(event: StreamEvent) -> None:
        await socket.send_text(_json(event))

    try:
        last = await _deliver(events, send, gone)
    except ServiceError as error:
        await socket.close(_WENT_WRONG, error.message[:100])
        return
    if socket.application_state.name == "CONNECTED" and socket.client_state.name == "CONNECTED":
        await socket.close(1000 if last and last.kind == "end" else _RESTARTS)


PATHS = ("/mcp/streamLogs", "/json/streamLogs")
routes: list[BaseRoute] = [
    route
    for path in PATHS
    for route in (
        WebSocketRoute(path, stream_websocket),
        Route(path, stream_sse, methods=["GET"]),
    )
]
