"""Using the controller's HTTP API as any client would: submit, follow the log, ask the status."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import ClusterError

_LONGEST_WAIT = 20  # seconds of one call


@dataclass(frozen=True)
class LogLine:
    """One line of a build's log, as the stream sends it."""

    phase: str
    message: str


class Controller:
    """The API of one controller."""

    def __init__(self, address: str) -> None:
        self.address = address
        # trust_env off: a proxy of the surroundings has no business with a loopback address.
        self._http = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def submit(self, request: Mapping[str, Any]) -> str:
        """Submit a build and return its job_id; ClusterError with the answer if refused."""
        answer = self._post("/mcp/submitJob", request)
        return str(answer["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """Return getStatus's answer."""
        return self._post("/mcp/getStatus", {"job_id": job_id})

    def kill(self, job_id: str) -> dict[str, Any]:
        """Kill a build; return killJob's answer."""
        return self._post("/mcp/killJob", {"job_id": job_id})

    def logs(self, job_id: str) -> dict[str, Any]:
        """Return getLogs's answer."""
        return self._post("/mcp/getLogs", {"job_id": job_id})

    def follow(self, job_id: str, *, seconds: float = 900) -> Iterator[LogLine]:
        """Yield the log line by line, live, until the stream ends.

        `seconds` bounds the wait for the next event, not the whole build.
        """
        with self._http.stream(
            "GET",
            "/mcp/streamLogs",
            params={"job_id": job_id},
            headers={"Accept": "text/event-stream"},
            timeout=httpx.Timeout(10, read=seconds),
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                raise ClusterError(f"streamLogs answered {answer.status_code}: {answer.text}")
            for data in _events(answer.iter_lines()):
                if "message" in data and "phase" in data:
                    yield LogLine(str(data["phase"]), str(data["message"]))

    def wait_ended(self, job_id: str, *, seconds: float) -> dict[str, Any]:
        """Wait until the build is over and return its status. Raises ClusterError."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            wait = {"job_id": job_id, "timeout": min(_LONGEST_WAIT, math.ceil(left)), "lines": 0}
            if self._post("/mcp/waitForJob", wait)["final"]:
                return self.status(job_id)
        raise ClusterError(f"build {job_id} is not over within {seconds:g} s")

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise ClusterError(
                f"the controller at {self.address} does not answer: {error}"
            ) from error
        if answer.status_code >= 400:
            raise ClusterError(f"{path} answered {answer.status_code}: {answer.text}")
        result: dict[str, Any] = answer.json()
        return result


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON data of server-sent events; comments and other fields are passed over."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line == "" and data:
            yield json.loads("\n".join(data))
            data = []
