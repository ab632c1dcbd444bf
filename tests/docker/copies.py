"""Copies of the deployed job `image-build`, with something of its containers changed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from builds import Builds, eventually

JOB = "docker-image-build"
_numbers = itertools.count()


@contextmanager
def copy_of_image_build(
    builds: Builds,
    change: Callable[[dict[str, Any]], None],
    volumes: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Register a copy with `change` made to each task; its name, which Vault's roles let in."""
    name = f"{JOB}-copy{next(_numbers)}"
    job = builds.job(JOB) | {"ID": name, "Name": name}
    job["TaskGroups"][0]["Volumes"] = volumes
    for task in job["TaskGroups"][0]["Tasks"]:
        change(task)
    builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
    try:
        yield name
    finally:
        for one in builds.nomad.get("/v1/jobs", params={"prefix": name}).json():
            path = one["ID"].replace("/", "%2F")
            builds.nomad.delete(f"/v1/job/{path}", params={"purge": "true"})
        eventually(
            "the copy is gone",
            lambda: not builds.nomad.get("/v1/jobs", params={"prefix": name}).json(),
        )


def outcome(builds: Builds, allocation: dict[str, Any]) -> dict[str, Any]:
    """What `finish` wrote."""
    found: dict[str, Any] = json.loads(builds.file(allocation["ID"], "finish/local/outcome.json"))
    return found
