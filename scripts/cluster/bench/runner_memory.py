"""The most memory that the runner takes in each phase, beside what Python takes for nothing."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

from ..cluster import Cluster
from ..submission import Controller
from .builds import PHASES, Builds

# 20 MB of log, and an image that is not trivial: what the runner holds of either would show.
_STEPS = f"RUN yes {'x' * 500} | head -n 40000\nRUN dd if=/dev/urandom of=/large bs=1M count=100"
_BARE = "print(open('/proc/self/status').read())"


def run(cluster: Cluster) -> dict[str, Any]:
    """Peak resident megabytes of each phase's runner in a build with much output."""
    builds = Builds(cluster, Controller(cluster.pack.wait_healthy()))
    repository = cluster.create_git_repository(
        "bench-memory", {"Dockerfile": f"FROM {cluster.base_image}\n{_STEPS}\n"}
    )
    request = builds.request(repository, "memory") | {"clear_cache": True}
    peaks = dict.fromkeys(PHASES, 0.0)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(str(cluster.state.node), peaks, ended))
    watcher.start()
    try:
        builds.submit(request)
    finally:
        ended.set()
        watcher.join()
    bare = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", _BARE], capture_output=True, text=True, check=True
    )
    return {"phases": peaks, "python": _peak(bare.stdout)}


def shown(figures: dict[str, Any]) -> str:
    """The figures in one line."""
    phases = ", ".join(f"{phase} {peak} MB" for phase, peak in figures["phases"].items())
    return f"runner's memory at most: {phases}; Python alone {figures['python']} MB"


def _watch(node: str, peaks: dict[str, float], ended: threading.Event) -> None:
    runner = f"{node}/bin/nbs-task"
    while not ended.wait(0.02):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                argv = (process / "cmdline").read_bytes().decode().split("\0")
                if runner in argv and (phase := argv[argv.index(runner) + 1]) in PHASES:
                    peak = _peak((process / "status").read_text())
                    peaks[phase] = max(peaks[phase], peak)
            except OSError:
                continue  # it has just ended


def _peak(status: str) -> float:
    """VmHWM of a /proc status, in megabytes."""
    lines = (line.split() for line in status.splitlines())
    return round(next((int(one[1]) for one in lines if one[0] == "VmHWM:"), 0) / 1024, 1)
