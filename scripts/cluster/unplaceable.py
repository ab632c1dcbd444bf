"""Builds that no node ever runs: for calls by the thousand that really dispatch.

The job is the one that the pack registered, under a name of its own and with a constraint that
nothing satisfies. A controller with NBS_NAME_PREFIX dispatches to it as to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from .cluster import Cluster
from .errors import ClusterError

PARENT = "image-build"
_NOWHERE = {"LTarget": "${node.unique.name}", "RTarget": "no node has this name", "Operand": "="}


@contextmanager
def unplaceable(cluster: Cluster, prefix: str) -> Iterator[str]:
    """Register the job and return its ID; it and its children are purged at the end."""
    with variant(cluster, prefix, lambda job: job.update(Constraints=[_NOWHERE])) as name:
        yield name


@contextmanager
def variant(
    cluster: Cluster, prefix: str, change: Callable[[dict[str, Any]], None]
) -> Iterator[str]:
    """The same with any change to the registered job."""
    name = f"{prefix}{PARENT}"
    with httpx.Client(
        base_url=cluster.nomad.address, headers=cluster.nomad.headers, timeout=30, trust_env=False
    ) as nomad:
        job = _ask(nomad, "GET", f"/v1/job/{PARENT}")
        job |= {"ID": name, "Name": name}
        change(job)
        try:
            _ask(nomad, "POST", "/v1/jobs", json={"Job": job})
            yield name
        finally:
            for one in _ask(nomad, "GET", "/v1/jobs", params={"prefix": name}):
                path = f"/v1/job/{quote(one['ID'], safe='')}"
                _ask(nomad, "DELETE", path, params={"purge": "true"})


def _ask(nomad: httpx.Client, method: str, path: str, **more: Any) -> Any:
    try:
        answer = nomad.request(method, path, **more)
    except httpx.HTTPError as error:
        raise ClusterError(f"Nomad does not answer: {error}") from error
    if answer.status_code != 200:
        raise ClusterError(f"Nomad: {method} {path} answered {answer.status_code}: {answer.text}")
    return answer.json()
