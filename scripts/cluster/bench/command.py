"""`scripts/bench`: what is measured, and how it is shown."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import sample
from ..cluster import Cluster
from ..errors import ClusterError
from ..own_controller import environment, own_controller, python
from ..paths import default_state_directory
from ..submission import Controller
from . import builds, latency, runner_memory, travelling_layers

SAMPLE, LAYERS, MEMORY, CONTROLLER = "sample", "layers", "runner-memory", "controller"
ALL = (*builds.CASES, SAMPLE, LAYERS, MEMORY, CONTROLLER)


def controller_figures(cluster: Cluster) -> dict[str, Any]:
    """Return start time and resident memory of a controller of its own, beside Python's own."""
    began = time.monotonic()
    subprocess.run([python(cluster), "-c", ""], check=True, env=environment(cluster))
    bare = time.monotonic() - began
    with own_controller(cluster) as own:
        return {
            "ready_seconds": round(own.ready_seconds, 2),
            "python_seconds": round(bare, 3),
            "resident_mb": own.resident_mb(),
        }


def run(cluster: Cluster, rounds: int, only: Sequence[str]) -> dict[str, Any]:
    """Every figure, or those of `only`; a line is printed to standard error before each."""
    figures: dict[str, Any] = {}
    for name in only or ALL:
        print(f"measuring {name}", file=sys.stderr)
        figures[name] = _one(cluster, rounds, name)
    return figures


def _one(cluster: Cluster, rounds: int, name: str) -> dict[str, Any]:
    if name == LAYERS:
        return travelling_layers.run(cluster, min(rounds, 5))
    if name == MEMORY:
        return runner_memory.run(cluster)
    if name == CONTROLLER:
        return controller_figures(cluster)
    measured = builds.Builds(cluster, Controller(cluster.pack.wait_healthy()))
    if name in builds.CASES:
        return measured.case(builds.CASES[name], rounds)
    project = json.loads(sample.put_in_place(cluster).read_text())
    test = " && ".join(project["test_commands"])
    return measured.pairs(SAMPLE, project | {"owner": "bench"}, test, rounds)


def shown(name: str, figures: dict[str, Any]) -> str:
    """One measurement in plain words."""
    if name == LAYERS:
        return travelling_layers.shown(figures)
    if name == MEMORY:
        return runner_memory.shown(figures)
    if name == CONTROLLER:
        return (
            "controller: ready in {ready_seconds} s (python alone {python_seconds} s), "
            "{resident_mb} MB resident".format(**figures)
        )
    return builds.shown(name, figures)


def main() -> int:
    """Measure and print, a line or two each or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="of each pair (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=ALL, help="this alone; may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--latency", action="store_true", help="calls beside Nomad's dispatch")
    parser.add_argument("--rounds", type=int, default=200, help="calls of each kind")
    options = parser.parse_args()
    root = Path(os.environ.get("NBS_STATE_DIR") or default_state_directory())
    try:
        cluster = Cluster.attach(root)
        if options.latency:
            figures = latency.run(cluster, options.rounds)
        else:
            figures = run(cluster, options.runs, options.only or ())
    except ClusterError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(figures, indent=1))
    elif options.latency:
        print(latency.shown(figures))
    else:
        for name, one in figures.items():
            print(shown(name, one))
    return 0


if __name__ == "__main__":
    sys.exit(main())
