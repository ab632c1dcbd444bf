"""The newest builds, for lists and completions: what a person picks from."""

from __future__ import annotations

from typing import Any

from controller.build import Status
from controller.callers import Caller
from controller.operations import BY_NAME
from controller.service import Service

MOST = 50


async def builds(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """The newest builds as getHistory shows them in short, running ones too."""
    if "getHistory" not in BY_NAME:
        return []
    answer = await BY_NAME["getHistory"].run(service, {"limit": MOST, "detail": "summary"}, caller)
    found: list[dict[str, Any]] = answer["jobs"]
    return found


async def job_ids(
    service: Service, caller: Caller, begin: str, *, failed: bool = False
) -> list[str]:
    """Ids of the newest builds that begin with `begin`; only failed ones on request."""
    return [
        build["job_id"]
        for build in await builds(service, caller)
        if build["job_id"].startswith(begin) and (not failed or build["status"] == Status.FAILED)
    ]
