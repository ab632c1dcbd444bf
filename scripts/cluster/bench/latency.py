"""`scripts/bench --latency`: what calls through the service cost beside Nomad's own dispatch.

All calls are made in turns over kept connections by one client, so that what disturbs one disturbs
the others. The builds are dispatched for real, to a job that no node can run.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from .. import sample
from ..cluster import GIT_SECRET, REGISTRY_SECRET, Cluster
from ..errors import ClusterError
from ..own_controller import OwnController, own_controller
from ..submission import Controller
from ..unplaceable import unplaceable

PREFIX = "bench-"
DIRECT = "Nomad dispatch"
GOALS = {
    "submitJob": 1.5,
    "MCP submitJob 2026-07-28": 2.0,
    "MCP submitJob 2025-06-18": 2.0,
}
_WARM_UP = 20
_ACCEPT = {"Accept": "application/json, text/event-stream"}
_keys = itertools.count()

Call = Callable[[], httpx.Response]


def run(cluster: Cluster, rounds: int) -> dict[str, Any]:
    """Return milliseconds of every call, ratios to the direct dispatch, memory and load."""
    deployed = Controller(cluster.pack.wait_healthy())
    ended = deployed.submit(json.loads(sample.put_in_place(cluster).read_text()))
    if deployed.wait_ended(ended, seconds=300)["status"] != "SUCCEEDED":
        raise ClusterError(f"the build {ended}, whose status and log are asked for, failed")
    with (
        unplaceable(cluster, PREFIX) as parent,
        own_controller(cluster, {"NBS_NAME_PREFIX": PREFIX}) as own,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        calls = _calls(http, cluster, own, deployed.address, parent, ended)
        _rounds(calls, _WARM_UP)
        memory, load = own.resident_mb(), os.getloadavg()[0]
        measured = _rounds(calls, rounds)
        return {
            "rounds": rounds,
            "calls": _figures(measured),
            "resident_mb": {"before": memory, "after": own.resident_mb()},
            "load": {"before": round(load, 2), "after": round(os.getloadavg()[0], 2)},
            "cpus": os.cpu_count(),
        }


def _calls(
    http: httpx.Client,
    cluster: Cluster,
    own: OwnController,
    deployed: str,
    parent: str,
    ended: str,
) -> dict[str, Call]:
    """Every kind of call by its name."""
    request = _request(cluster)
    public = {
        name: value for name, value in request.items() if not name.endswith("_credentials_path")
    }
    dispatch = {
        "Payload": base64.b64encode(json.dumps(request).encode()).decode(),
        "Meta": {"pack.deployment_name": ""},
    }

    def post(
        url: str, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Call:
        return lambda: http.post(url, json=document, headers=headers)

    def with_key() -> httpx.Response:
        keyed = request | {"idempotency_key": f"key-{os.getpid()}-{next(_keys)}"}
        return http.post(f"{own.address}/mcp/submitJob", json=keyed)

    waiting = http.post(f"{own.address}/mcp/submitJob", json=request).json()["job_id"]
    return {
        DIRECT: post(
            f"{cluster.nomad.address}/v1/job/{parent}/dispatch", dispatch, cluster.nomad.headers
        ),
        "submitJob": post(f"{own.address}/mcp/submitJob", request),
        "submitJob, no credentials": post(f"{own.address}/mcp/submitJob", public),
        "submitJob, idempotency_key": with_key,
        "MCP submitJob 2026-07-28": post(f"{own.address}/mcp", *_modern(request)),
        "MCP submitJob 2025-06-18": post(f"{own.address}/mcp", *_legacy(request)),
        "getStatus, waiting": post(f"{own.address}/mcp/getStatus", {"job_id": waiting}),
        "getStatus, ended": post(f"{deployed}/mcp/getStatus", {"job_id": ended}),
        "getLogs, ended": post(f"{deployed}/mcp/getLogs", {"job_id": ended}),
    }


def _request(cluster: Cluster) -> dict[str, Any]:
    return {
        "owner": "bench",
        "repo_url": "https://git.example.com/team/app.git",
        "git_ref": "main",
        "git_credentials_path": f"secret/{GIT_SECRET}",
        "registry_url": f"{cluster.registry.host}/bench",
        "image_name": "latency",
        "image_tags": ["1"],
        "registry_credentials_path": f"secret/{REGISTRY_SECRET}",
        "test_commands": ["true"],
    }


def _modern(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    revision = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    }
    headers = {"Mcp-Method": "tools/call", "Mcp-Name": "submitJob"}
    return _message(request, {"_meta": meta}), headers | _headers(revision)


def _legacy(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    return _message(request, {}), _headers("2025-06-18")


def _headers(revision: str) -> dict[str, str]:
    return _ACCEPT | {"MCP-Protocol-Version": revision}


def _message(request: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    params = {"name": "submitJob", "arguments": dict(request), **more}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _rounds(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call; each round makes every call once, in an order of its own."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    order, turns = list(calls), random.Random(1)
    for _ in range(rounds):
        turns.shuffle(order)
        for name in order:
            began = time.perf_counter()
            answer = calls[name]()
            took[name].append((time.perf_counter() - began) * 1000)
            if answer.status_code != 200 or '"isError":true' in answer.text:
                raise ClusterError(f"{name} answered {answer.status_code}: {answer.text}")
    return took


def _figures(measured: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    direct = _percentiles(measured[DIRECT])
    figures = {}
    for name, values in measured.items():
        one = _percentiles(values)
        figures[name] = {
            "p50_ms": round(one[0], 2),
            "p95_ms": round(one[1], 2),
            "ratio_p50": round(one[0] / direct[0], 2),
            "ratio_p95": round(one[1] / direct[1], 2),
        }
    return figures


def _percentiles(values: list[float]) -> tuple[float, float]:
    parts = statistics.quantiles(values, n=20, method="inclusive")
    return parts[9], parts[18]


def shown(figures: Mapping[str, Any]) -> str:
    """The figures as a table."""
    lines = [f"{'call':28} {'p50 ms':>8} {'p95 ms':>8} {'ratio':>6}  goal"]
    for name, one in figures["calls"].items():
        goal = f"{GOALS[name]}" if name in GOALS else ""
        lines.append(
            f"{name:28} {one['p50_ms']:8.2f} {one['p95_ms']:8.2f} {one['ratio_p50']:6.2f}  {goal}"
        )
    memory, load = figures["resident_mb"], figures["load"]
    lines.append(
        f"{figures['rounds']} calls of each; controller {memory['before']} MB before, "
        f"{memory['after']} MB after; load {load['before']} to {load['after']} "
        f"on {figures['cpus']} processors"
    )
    return "\n".join(lines)
