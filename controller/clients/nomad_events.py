"""Nomad's event stream, as wake-ups only: it may repeat, it may lose, it may end without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from controller.clients.nomad import NomadClient

_SILENCE = 45.0  # seconds; Nomad sends {} every 30
_TOPICS = ["Job", "Allocation", "Evaluation"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a job: which, with its allocation where it was one."""

    job_id: str
    job_dead: bool = False
    allocation: dict[str, Any] | None = None


async def events(nomad: NomadClient) -> AsyncIterator[Event | None]:
    """Each event of the namespace; None once, as soon as the stream stands.

    Ends when Nomad ends the stream. Raises UnavailableError when it breaks, RefusedError.
    """
    async with nomad.stream("/event/stream", read_timeout=_SILENCE, topic=_TOPICS) as chunks:
        yield None
        rest: list[bytes] = []
        async for chunk in chunks:
            *lines, last = chunk.split(b"\n")
            for line in lines:
                rest.append(line)
                whole, rest = b"".join(rest), []
                for event in from_json(whole or b"{}").get("Events") or ():
                    yield _event(event)
            rest.append(last)


def _event(event: dict[str, Any]) -> Event:
    payload = (event.get("Payload") or {}).get(event["Topic"]) or {}
    if event["Topic"] == "Job":
        return Event(str(event["Key"]), job_dead=payload.get("Status") == "dead")
    allocation = payload if event["Topic"] == "Allocation" else None
    return Event(str(payload.get("JobID", "")), allocation=allocation)
