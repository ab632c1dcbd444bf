"""Controllers run from the working tree beside the deployed one, and readers of their streams."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.cluster import Cluster

REPOSITORY = Path(__file__).parents[2]
_LISTENS = re.compile(r"listens on (http://\S+), metrics on port (\d+)")


@dataclass
class Serving:
    """One `nbs serve`: its process, address and what it has said."""

    process: subprocess.Popen[bytes]
    log_file: Path
    address: str = ""
    metrics_address: str = ""
    started_in: float = 0.0

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def post(self, name: str, body: Any, **kwargs: Any) -> httpx.Response:
        return httpx.post(f"{self.address}/mcp/{name}", json=body, timeout=30, **kwargs)

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.metrics_address}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def rss(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End it; the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - begun


@contextmanager
def serving(
    cluster: Cluster, directory: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """A controller on free ports, with the rights of the cluster's operator."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "NBS_PORT": "0",
        "NBS_METRICS_PORT": "0",
        "NBS_GIT_PROTOCOLS": "https,ssh,http",
        **cluster.env(),
        **(settings or {}),
    }
    log_file = directory / f"controller-{time.monotonic_ns()}.log"
    begun = time.monotonic()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller", "serve"],
            env=environ,
            stderr=log,
            stdout=log,
            cwd=directory,
        )
    one = Serving(process, log_file)
    try:
        while not (found := _LISTENS.search(one.log)) or not _answers(found[1]):
            assert process.poll() is None, f"ended with {process.returncode}\n{one.log}"
            assert time.monotonic() < begun + 20, one.log
            time.sleep(0.01)
        one.started_in = time.monotonic() - begun
        one.address = found[1]
        one.metrics_address = f"http://127.0.0.1:{found[2]}"
        yield one
    finally:
        if process.poll() is None:
            one.stop(signal.SIGKILL)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=2).status_code in (200, 503)
    except httpx.HTTPError:
        return False


def sse(
    address: str, job_id: str, after: str | None = None, seconds: float = 60
) -> Iterator[tuple[dict[str, Any], str]]:
    """The events of a stream, each with the id to resume after."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    with httpx.stream(
        "GET",
        f"{address}/mcp/streamLogs",
        params={"job_id": job_id},
        headers=headers,
        timeout=httpx.Timeout(10, read=seconds),
    ) as response:
        assert response.status_code == 200, response.read()
        cursor = after or ""
        for line in response.iter_lines():
            if line.startswith("id: "):
                cursor = line.removeprefix("id: ")
            elif line.startswith("data: "):
                yield json.loads(line.removeprefix("data: ")), cursor


def log_lines(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(phase, text) of each log event."""
    return [(event["phase"], event["message"]) for event in events if event["event"] == "log"]
