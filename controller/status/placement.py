"""Why a build is not placed yet, in words, from Nomad's evaluations. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.status.node_capacity import Need, need_of

Json = Mapping[str, Any]


def waits(evaluations: Sequence[Json]) -> bool:
    """Whether Nomad still means to place an allocation."""
    return any(one["Status"] in ("blocked", "pending") for one in evaluations)


def blocked(evaluations: Sequence[Json]) -> Json | None:
    """The evaluation that waits until a node has room, if there is one."""
    return next((one for one in evaluations if one["Status"] == "blocked"), None)


def placed(summary: Json | None) -> bool:
    """Whether a job, by its summary, has an allocation on a node."""
    groups = ((summary or {}).get("Summary") or {}).values()
    return any(group["Running"] or group["Starting"] or group["Unknown"] for group in groups)


def position(evaluations: Sequence[Json], queue: Sequence[Json]) -> int | None:
    """Which place a build has among `queue`, the blocked evaluations of all builds; from 1.

    Nomad tries them by priority, then by age; a later one passes where it fits and this one not.
    """
    own = blocked(evaluations)
    if own is None:
        return None
    return 1 + sum(_order(one) < _order(own) for one in queue if one["ID"] != own["ID"])


def _order(evaluation: Json) -> tuple[int, int]:
    return -int(evaluation.get("Priority") or 0), int(evaluation["CreateIndex"])


def words(evaluations: Sequence[Json], job: Json, place: int | None = None) -> str:
    """What the build waits for: its turn, a node, or resources."""
    newest = sorted(evaluations, key=lambda one: int(one["CreateIndex"]), reverse=True)
    for evaluation in newest:
        for metrics in (evaluation.get("FailedTGAllocs") or {}).values():
            need = need_of(job) if job.get("TaskGroups") else None
            queue = f"; place {place} in the queue of builds" if place else ""
            return f"waits for a node: {_metrics(metrics, need)}{queue}"
    if any(one["Status"] == "failed" for one in newest[:1]):
        return "Nomad could not evaluate the build and tries again"
    return "waits for Nomad to place it"


def _metrics(metrics: Json, need: Need | None) -> str:
    evaluated = int(metrics.get("NodesEvaluated") or 0)
    if not evaluated:
        pools = metrics.get("NodePool")
        where = f" of node pool {pools}" if pools else ""
        return f"there is no ready node{where} in the job's datacenters"
    exhausted = [
        f"no node has {_amount(name, need)} free"
        if count == evaluated
        else f"{count} of {evaluated} nodes lack {_amount(name, need)}"
        for name, count in (metrics.get("DimensionExhausted") or {}).items()
    ]
    filtered = [
        f"no node meets {name}"
        if count == evaluated
        else f"{count} of {evaluated} nodes are ruled out by {name}"
        for name, count in (metrics.get("ConstraintFiltered") or {}).items()
    ]
    return "; ".join(exhausted + filtered) or f"none of {evaluated} nodes fits"


def _amount(dimension: str, need: Need | None) -> str:
    """A dimension of Nomad's (`memory`, `cpu`, `disk`, `network: …`) with what the build needs."""
    if need is None:
        return dimension
    amounts = {
        "memory": f"{need.memory} MB of memory",
        "cpu": f"{need.cpu} MHz of cpu",
        "disk": f"{need.disk} MB of disk",
    }
    return amounts.get(dimension, dimension)
