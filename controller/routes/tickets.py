"""streamTicket: lets a browser open a log stream.

EventSource and WebSocket send no Authorization header, and a credential in a URL ends up in the
logs of every proxy. So a page gets a ticket with its credential, and opens the stream with that.

It is no operation, and no tool: an agent sends its credential with every request, waits with
waitForJob, and would only carry a secret through its context.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from controller.access.callers import READ
from controller.access.tickets import LIFE
from controller.operations.documents import OneJob
from controller.operations.operation import admit, checked
from controller.routes import body
from controller.service import Service

NAME = "streamTicket"


async def ticket(request: Request) -> JSONResponse:
    """POST streamTicket: a ticket for one stream of a build that the caller may see."""
    service: Service = request.app.state.service
    caller = request.state.caller
    with service.audit.deciding(NAME, caller, changes=True) as noted:
        await admit(service, caller, READ)
        given = checked(OneJob, await body.json_object(request, service.settings.max_body))
        noted["job_id"] = given.job_id
        await admit(service, caller, READ, given.job_id)
        issued = await service.tickets.issue(given.job_id, caller)
    path = request.url.path.replace(NAME, "streamLogs")
    query = urlencode({"job_id": issued.job_id, "ticket": issued.ticket})
    told = {"ticket": issued.ticket, "expires_in": LIFE, "url": f"{path}?{query}"}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


routes = [Route(f"/{base}/{NAME}", ticket, methods=["POST"]) for base in ("mcp", "json")]
