"""Nomad's event stream, as wake-ups only: it may repeat, it may lose, it may end without a word."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from controller.clients.nomad import NomadClient

_SILENCE = 45.0  # seconds; Nomad sends {} every 30
_TOPICS = ["Job", "Allocation", "Evaluation"]


async def job_ids(nomad: NomadClient) -> AsyncIterator[str | None]:
    """The ID of each job that something happened to; None once, as soon as the stream stands.

    Ends when Nomad ends the stream. Raises UnavailableError when it breaks, RefusedError.
    """
    async with nomad.stream("/event/stream", read_timeout=_SILENCE, topic=_TOPICS) as chunks:
        yield None
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                for event in json.loads(line or b"{}").get("Events") or ():
                    if job_id := _job_id(event):
                        yield job_id


def _job_id(event: dict[str, Any]) -> str:
    payload = event.get("Payload") or {}
    if event["Topic"] == "Job":
        return str(event["Key"])
    return str((payload.get(event["Topic"]) or {}).get("JobID", ""))
