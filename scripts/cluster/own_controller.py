"""A controller beside the deployed one, from the code that the cluster has installed."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .cluster import Cluster
from .errors import ClusterError
from .http import get

_LISTENS = re.compile(r"listens on (http://[^\s,]+)")


@dataclass(frozen=True)
class OwnController:
    """Its address, its process, and the seconds from its start until it was ready."""

    address: str
    pid: int
    ready_seconds: float

    def resident_mb(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
        return round(kilobytes / 1024, 1)


def environment(cluster: Cluster) -> dict[str, str]:
    """Return the environment that it runs in, on free ports."""
    return {
        **os.environ,
        "PYTHONPATH": str(cluster.state.node / "lib"),
        "NBS_PORT": "0",
        "NBS_METRICS_PORT": "0",
        "NBS_GIT_PROTOCOLS": "https,ssh,http",
        **cluster.env(),
    }


def python(cluster: Cluster) -> str:
    """Return the interpreter that it runs with."""
    return str(cluster.state.node / "venv" / "bin" / "python")


@contextmanager
def own_controller(
    cluster: Cluster, settings: Mapping[str, str] | None = None
) -> Iterator[OwnController]:
    """Run it until the context ends."""
    log = cluster.state.root / f"own-controller-{os.getpid()}.log"
    began = time.monotonic()
    with log.open("wb") as written:
        process = subprocess.Popen(
            [python(cluster), "-m", "controller", "serve"],
            env={**environment(cluster), **(settings or {})},
            stdout=subprocess.DEVNULL,
            stderr=written,
        )
    try:
        address = _ready(process, log, began + 20)
        yield OwnController(address, process.pid, time.monotonic() - began)
    finally:
        process.terminate()
        process.wait(15)
        log.unlink()


def _ready(process: subprocess.Popen[bytes], log: Path, end: float) -> str:
    while True:
        text = log.read_text("utf-8", "replace")
        if found := _LISTENS.search(text):
            try:
                get(f"{found[1]}/ready")
                return found[1]
            except OSError:
                pass  # its first look at its dependencies is still to come
        if process.poll() is not None or time.monotonic() > end:
            raise ClusterError(f"the controller did not become ready:\n{text[-2000:]}")
        time.sleep(0.01)
