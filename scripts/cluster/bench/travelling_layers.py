"""A rebuild on another node through the registry cache, beside one on the node that built before.

The cluster has one node. To a build, a node on which its owner never built is one where the owner
has no storage: it is moved away.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
from typing import Any

from ..cluster import Cluster
from ..submission import Controller
from ..waiting import wait_for
from .builds import Builds, spread

_OWNER = "bench-layers"
_CREDENTIAL = "secret/nomad-build-service/cache/layers"
# What a rebuild saves is in the middle: a second of work and 20 MB in each of five steps.
_WORK = "head -c 150000000 /dev/zero | sha256sum"
_STEPS = "\n".join(
    f"RUN {_WORK} && dd if=/dev/urandom of=/{number} bs=1M count=20" for number in range(5)
)


def run(cluster: Cluster, rounds: int) -> dict[str, Any]:
    """Seconds cold, on the same node and on another one, with a registry cache deployed."""
    cluster.pack.deploy(
        {
            "cache_repository": f"{cluster.registry.host}/nbs/cache",
            "cache_credentials_path": _CREDENTIAL,
        }
    )
    try:
        builds = Builds(cluster, Controller(cluster.pack.wait_healthy()))
        repository = cluster.create_git_repository(
            "bench-layers", {"Dockerfile": f"FROM {cluster.base_image}\n{_STEPS}\n"}
        )
        request = builds.request(repository, "layers") | {"owner": _OWNER}
        cold = builds.submit(request | {"clear_cache": True})[0]
        builds.submit(request)
        same, other = [], []
        for _ in range(rounds):
            same.append(builds.submit(request)[0])
            _to_another_node(cluster)
            other.append(builds.submit(request)[0])
    finally:
        cluster.pack.deploy()
    return {
        "cold": round(cold, 2),
        "same_node": spread(same),
        "other_node": spread(other),
        "ratio": round(statistics.median(other) / statistics.median(same), 2),
    }


def shown(figures: dict[str, Any]) -> str:
    """The figures in one line."""
    return (
        f"rebuild: on another node {figures['other_node']['median']} s through the registry cache, "
        f"on the same {figures['same_node']['median']} s, ratio {figures['ratio']}; "
        f"cold {figures['cold']} s"
    )


def _to_another_node(cluster: Cluster) -> None:
    storage = cluster.state.storage / hashlib.sha256(_OWNER.encode()).hexdigest()[:16]
    away = storage.with_name(f"{storage.name}-away")
    # The last task of a build may still be at it.
    wait_for("the storage is at rest", lambda: _moved(storage, away), seconds=30, interval=0.1)
    shutil.rmtree(away)


def _moved(storage: Any, away: Any) -> bool:
    storage.rename(away)
    return True
