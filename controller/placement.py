"""Why a build is not placed yet, in words, from Nomad's evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def waits(evaluations: Sequence[Json]) -> bool:
    """Whether Nomad still means to place an allocation."""
    return any(one["Status"] in ("blocked", "pending") for one in evaluations)


def placed(summary: Json | None) -> bool:
    """Whether a job, by its summary, has an allocation on a node."""
    groups = ((summary or {}).get("Summary") or {}).values()
    return any(group["Running"] or group["Starting"] or group["Unknown"] for group in groups)


def words(evaluations: Sequence[Json]) -> str:
    """What the build waits for: its turn, a node, or resources."""
    newest = sorted(evaluations, key=lambda one: int(one["CreateIndex"]), reverse=True)
    for evaluation in newest:
        for metrics in (evaluation.get("FailedTGAllocs") or {}).values():
            return f"waits for a node: {_metrics(metrics)}"
    if any(one["Status"] == "failed" for one in newest[:1]):
        return "Nomad could not evaluate the build and tries again"
    return "waits for Nomad to place it"


def _metrics(metrics: Json) -> str:
    evaluated = int(metrics.get("NodesEvaluated") or 0)
    if not evaluated:
        pools = metrics.get("NodePool")
        where = f" of node pool {pools}" if pools else ""
        return f"there is no ready node{where} in the job's datacenters"
    exhausted = [
        f"{count} of {evaluated} nodes lack {name}"
        for name, count in (metrics.get("DimensionExhausted") or {}).items()
    ]
    filtered = [
        f"{count} of {evaluated} nodes are ruled out by {name}"
        for name, count in (metrics.get("ConstraintFiltered") or {}).items()
    ]
    return "; ".join(exhausted + filtered) or f"none of {evaluated} nodes fits"
