"""Could any node run a build of a class at all? From Nomad's nodes and the class's job. Pure.

The scheduler decides in the end; this says beforehand what it would say about an impossible wish.
Only what a node has in whole counts here, not what is free now: a busy node is a queue, no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
_ANY_POOL = ("", "all")


@dataclass(frozen=True, slots=True)
class Need:
    """What one allocation reserves at the same time. CPU in MHz, memory and disk in MB."""

    cpu: int
    memory: int
    disk: int


def need_of(job: Json) -> Need:
    """The reservation of a job's only group: the largest of its stages (prestart, main, poststop).

    https://github.com/hashicorp/nomad/blob/v1.11.3/nomad/structs/structs.go, ComparableResources
    """
    group = job["TaskGroups"][0]
    stages: dict[str, list[Json]] = {}
    for task in group["Tasks"]:
        hook = (task.get("Lifecycle") or {}).get("Hook") or "main"
        stages.setdefault(hook, []).append(task["Resources"])
    return Need(
        max(sum(int(one["CPU"]) for one in tasks) for tasks in stages.values()),
        max(sum(int(one["MemoryMB"]) for one in tasks) for tasks in stages.values()),
        int((group.get("EphemeralDisk") or {}).get("SizeMB") or 0),
    )


def impossible(job: Json, nodes: Sequence[Json]) -> str | None:
    """Why no node could ever run the job, in words; None where at least one could."""
    need = need_of(job)
    if not any(_ready(node) for node in nodes):
        return "no node is ready and eligible"
    here = [node for node in nodes if takes_work(node, job)]
    if not here:
        return f"no ready node is in node pool {job.get('NodePool') or 'default'!r}"
    drivers = {task["Driver"] for group in job["TaskGroups"] for task in group["Tasks"]}
    for driver in sorted(drivers):
        here = [node for node in here if _healthy(node, driver)]
        if not here:
            return f"no ready node has the driver {driver} healthy"
    for constraint in job.get("Constraints") or []:
        here = [node for node in here if _meets(node, constraint)]
        if not here:
            told = f"{constraint.get('LTarget')} {constraint['Operand']} {constraint['RTarget']}"
            return f"no ready node meets the constraint {told}"
    lacks = {
        what: wanted
        for what, wanted, has in (
            (f"{need.memory} MB memory", need.memory, _memory),
            (f"{need.cpu} MHz cpu", need.cpu, _cpu),
            (f"{need.disk} MB disk", need.disk, _disk),
        )
        if not any(has(node) >= wanted for node in here)
    }
    if lacks:
        return f"no ready node has {' or '.join(lacks)}"
    if not any(
        _memory(node) >= need.memory and _cpu(node) >= need.cpu and _disk(node) >= need.disk
        for node in here
    ):
        return f"no ready node has {need.memory} MB, {need.cpu} MHz and {need.disk} MB disk at once"
    return None


def takes_work(node: Json, job: Json) -> bool:
    """Whether a node is ready, eligible, and in the job's node pool."""
    pool = job.get("NodePool") or "default"
    return _ready(node) and (pool in _ANY_POOL or node.get("NodePool") == pool)


def _ready(node: Json) -> bool:
    return bool(node["Status"] == "ready" and node["SchedulingEligibility"] == "eligible")


def _healthy(node: Json, driver: str) -> bool:
    return bool(((node.get("Drivers") or {}).get(driver) or {}).get("Healthy"))


def _meets(node: Json, constraint: Json) -> bool:
    """Whether a node meets a constraint; one that is not understood here is left to Nomad."""
    target = str(constraint.get("LTarget") or "")
    kind, _, name = target.removeprefix("${").removesuffix("}").partition(".")
    known = {"attr": "Attributes", "meta": "Meta"}.get(kind)
    operand = constraint.get("Operand")
    if (
        known is None
        or operand not in ("=", "==", "is", "!=", "not")
        or "${" in str(constraint.get("RTarget"))
    ):
        return True
    same = (node.get(known) or {}).get(name) == constraint.get("RTarget")
    return same is (operand in ("=", "==", "is"))


def _of(node: Json, part: str, name: str) -> int:
    has, kept = (
        ((node.get(kind) or {}).get(part) or {}).get(name) or 0
        for kind in ("NodeResources", "ReservedResources")
    )
    return int(has) - int(kept)


def _cpu(node: Json) -> int:
    return _of(node, "Cpu", "CpuShares")


def _memory(node: Json) -> int:
    return _of(node, "Memory", "MemoryMB")


def _disk(node: Json) -> int:
    return _of(node, "Disk", "DiskMB")
