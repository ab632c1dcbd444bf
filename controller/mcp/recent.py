"""The newest builds, for lists and completions: what a person picks from."""

from __future__ import annotations

from typing import Any

from controller.access.callers import Caller
from controller.operations import BY_NAME
from controller.service import Service
from controller.status.build import Status

MOST = 50


async def builds(
    service: Service, caller: Caller, *, status: Status | None = None
) -> list[dict[str, Any]]:
    """The newest builds as getHistory shows them in short, running ones too."""
    given = {"limit": MOST, "detail": "summary", "status": status and str(status)}
    answer = await BY_NAME["getHistory"].run(service, given, caller)
    found: list[dict[str, Any]] = answer["jobs"]
    return found


async def job_ids(
    service: Service, caller: Caller, begin: str, *, status: Status | None = None
) -> list[str]:
    """Ids of the newest builds that begin with `begin`."""
    found = await builds(service, caller, status=status)
    return [build["job_id"] for build in found if build["job_id"].startswith(begin)]
