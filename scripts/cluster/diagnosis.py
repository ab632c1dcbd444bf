"""What the cluster's servers say of themselves, for the report of a failed test."""

from __future__ import annotations

from typing import Any

from .cluster import Cluster
from .waiting import tail

NEWEST = 4
"""How many allocations are described."""


def describe(cluster: Cluster) -> str:
    """Return dead servers, the newest allocations with their task events, and agent logs."""
    parts = [
        f"{server.name} is not running; end of its log:\n{tail(server.process.log)}"
        for server in cluster.servers
        if not server.alive
    ]
    if cluster.nomad.alive:
        parts += _allocations(cluster)
        parts.append(f"end of {cluster.nomad.process.log}:\n{tail(cluster.nomad.process.log)}")
    return "\n\n".join(parts)


def _allocations(cluster: Cluster) -> list[str]:
    try:
        found = cluster.nomad.get("allocations?namespace=*&task_states=true")
    except OSError as error:
        return [f"Nomad does not answer: {error}"]
    newest = sorted(found, key=lambda allocation: allocation["CreateIndex"])[-NEWEST:]
    return [_describe(cluster, allocation) for allocation in newest]


def _describe(cluster: Cluster, allocation: dict[str, Any]) -> str:
    lines = [f"{allocation['JobID']} allocation {allocation['ID']}: {allocation['ClientStatus']}"]
    for task, state in (allocation.get("TaskStates") or {}).items():
        lines.append(f"  {task}: {state['State']}{', failed' if state['Failed'] else ''}")
        lines += [
            f"    {event['Type']}: {event.get('DisplayMessage', '')}"
            for event in state.get("Events") or []
        ]
        for stream in ("stdout", "stderr"):
            file = (
                cluster.state.allocations
                / allocation["ID"]
                / "alloc"
                / "logs"
                / f"{task}.{stream}.0"
            )
            if file.exists() and file.stat().st_size:
                lines.append(f"    end of {stream}:\n{tail(file, 8)}")
    return "\n".join(lines)
