"""What the identities of a build's tasks open, tried from inside each task.

`probing` registers a copy of the pack's job image-build whose tasks run `attempts.py` instead of
the runner, with the same identities, environment and user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builds import Builds, eventually

from cluster.access import vault as access_vault
from cluster.access.change import Wanted
from cluster.cluster import Cluster

PREFIX = "probe"
ATTEMPTS = Path(__file__).with_name("attempts.py")


@contextmanager
def vault_roles(cluster: Cluster) -> Iterator[Wanted]:
    """Roles like the pack's, for jobs whose names begin with `probe-`."""
    wanted = Wanted(
        jwks_url=f"{cluster.nomad.address}/.well-known/jwks.json",
        name_prefix=f"{PREFIX}-",
        role_prefix=PREFIX,
    )
    for change in access_vault.plan(cluster.vault.client(), wanted):
        change.make()
    yield wanted
    for change in access_vault.removal(cluster.vault.client(), wanted):
        change.make()


def attempts_of_build(builds: Builds, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the attempts in every task of a build; what came of them, by task."""
    cluster = builds.cluster
    name = f"{PREFIX}-image-build"
    job = builds.job("image-build")
    job |= {"ID": name, "Name": name}
    for task in job["TaskGroups"][0]["Tasks"]:
        task["Config"] = {
            "command": str(cluster.state.node / "venv" / "bin" / "python"),
            "args": ["${NOMAD_TASK_DIR}/attempts.py"],
        }
        task["Templates"] = [
            {"EmbeddedTmpl": ATTEMPTS.read_text(), "DestPath": "local/attempts.py"},
            {"EmbeddedTmpl": json.dumps(plan), "DestPath": "local/plan.json"},
        ]
    builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
    try:
        child = builds.dispatch({}, name)
        allocation = builds.await_end(child)
        return {
            task: json.loads(builds.file(allocation["ID"], f"{task}/local/attempts.json"))
            for task in ("build", "test", "publish", "finish")
        }
    finally:
        for one in builds.nomad.get("/v1/jobs", params={"prefix": name}).json():
            path = one["ID"].replace("/", "%2F")
            builds.nomad.delete(f"/v1/job/{path}", params={"purge": "true"})
        eventually(
            "the probe is gone",
            lambda: not builds.nomad.get("/v1/jobs", params={"prefix": name}).json(),
        )
