"""Copies of the pack's job image-build, for what the deployed controller must have no part in.

Also what the identities of a build's tasks open, tried from inside: there the tasks of the copy run
`attempts.py` instead of the runner, with the same identities, environment and user.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builds import Builds, eventually
from controllers import serving

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


@contextmanager
def copy_of_image_build(
    builds: Builds, change: Callable[[dict[str, Any]], None], *, build_class: str = ""
) -> Iterator[str]:
    """Register a copy of the job, of a build class, with `change` made to each task; its name."""
    name = f"{PREFIX}-image-build" + (f"-{build_class}" if build_class else "")
    job = builds.job("image-build") | {"ID": name, "Name": name}
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


def with_own_role(task: dict[str, Any]) -> None:
    """Let a task of the copy log in with the role of `vault_roles`."""
    role = task["Env"].get("NBS_VAULT_ROLE")
    if role:
        task["Env"]["NBS_VAULT_ROLE"] = role.replace("nbs", PREFIX)


@contextmanager
def with_environment(builds: Builds, directory: Path, env: dict[str, str]) -> Iterator[Builds]:
    """The service, by a controller of its own, with some variables of its tasks changed."""

    def change(task: dict[str, Any]) -> None:
        with_own_role(task)
        task["Env"].update(env)

    with (
        vault_roles(builds.cluster),
        copy_of_image_build(builds, change),
        serving(builds.cluster, directory, {"NBS_NAME_PREFIX": f"{PREFIX}-"}) as one,
    ):
        yield Builds(builds.cluster, one.address)


def attempts_of_build(builds: Builds, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the attempts in every task of a build; what came of them, by task."""

    def attempt(task: dict[str, Any]) -> None:
        task["Config"] = {
            "command": str(builds.cluster.state.node / "venv" / "bin" / "python"),
            "args": ["${NOMAD_TASK_DIR}/attempts.py"],
        }
        task["Templates"] = [
            {"EmbeddedTmpl": ATTEMPTS.read_text(), "DestPath": "local/attempts.py"},
            {"EmbeddedTmpl": json.dumps(plan), "DestPath": "local/plan.json"},
        ]

    with copy_of_image_build(builds, attempt) as name:
        child = builds.dispatch({}, name)

        def over() -> dict[str, Any] | None:
            allocation = builds.allocation(child) or {}
            states = (allocation.get("TaskStates") or {}).values()
            return allocation if states and all(s["State"] == "dead" for s in states) else None

        allocation = eventually("every task has ended", over, 90)
        return {
            task: json.loads(builds.file(allocation["ID"], f"{task}/local/attempts.json"))
            for task in ("build", "test", "publish", "keep", "finish")
        }
