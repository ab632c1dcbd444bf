"""The pack with the real nomad-pack: what it renders, and run, plan, status, stop, destroy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
from builds import Builds, cli, eventually, nomad_job_id
from operators import access_setup

from cluster.cluster import Cluster
from cluster.pack import PACK, hcl
from controller.settings import load

CLASS = {
    "cpu": 500,
    "memory": 256,
    "memory_max": 0,
    "disk": 300,
    "node_pool": "",
    "arch": "",
    "constraints": [],
}


def nomad_pack(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return cli(cluster, "nomad-pack", *arguments)


def render(cluster: Cluster, directory: Path, **variables: Any) -> dict[str, dict[str, Any]]:
    """Every rendered job by its ID, as python-hcl2 reads it; Nomad validates each."""
    values = cluster.pack.variables() | variables
    file = directory / "vars.hcl"
    file.write_text("".join(f"{name} = {hcl(value)}\n" for name, value in values.items()))
    target = directory / "out"
    done = nomad_pack(
        cluster, "render", str(PACK), "--name", "t", "-f", str(file), "--to-dir", str(target)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {}
    for path in target.rglob("*.nomad"):
        checked = cli(cluster, "nomad", "job", "validate", str(path))
        assert checked.returncode == 0, f"{path.name}: {checked.stdout}{checked.stderr}"
        for block in hcl2.loads(path.read_text())["job"]:
            jobs |= {name.strip('"'): job for name, job in block.items()}
    return jobs


def tasks(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name.strip('"'): task
        for group in job["group"]
        for body in group.values()
        for block in body["task"]
        for name, task in block.items()
    }


@pytest.mark.parametrize("driver", ["raw_exec", "docker"])
@pytest.mark.parametrize("kept", [True, False], ids=["with images kept", "without"])
def test_rendered_build_has_its_tasks_and_credentials_where_they_belong(
    cluster: Cluster, tmp_path: Path, driver: str, kept: bool
) -> None:
    where = {} if kept else {"intermediate_repository": ""}
    job = render(cluster, tmp_path, driver=driver, network_mode="host", **where)["image-build"]
    found = tasks(job)
    hooks = {
        name: [block["hook"].strip('"') for block in task.get("lifecycle", [])]
        for name, task in found.items()
    }
    assert hooks == {
        "build": ["prestart"],
        "test": ["prestart"],
        "publish": [],
        "finish": ["poststop"],
        **({"keep": ["poststop"]} if kept else {}),
    }
    trusted = {"build", "publish", *(["keep"] if kept else [])}
    assert {name for name, task in found.items() if task.get("identity")} == trusted
    assert not any(task.get("vault") or task.get("template") for task in found.values())
    assert {task["driver"].strip('"') for task in found.values()} == {driver}


def test_rendered_classes_and_prefix(cluster: Cluster, tmp_path: Path) -> None:
    jobs = render(
        cluster,
        tmp_path,
        name_prefix="b-",
        build_classes={
            "default": CLASS,
            "large": CLASS | {"cpu": 4000, "arch": "amd64"},
            "gpu": CLASS
            | {"constraints": [{"attribute": "${meta.gpu}", "operator": "=", "value": "true"}]},
        },
    )
    assert sorted(jobs) == [
        "b-image-build",
        "b-image-build-gpu",
        "b-image-build-large",
        "b-image-check",
        "b-image-cleanup",
        "b-image-promote",
        "b-image-prune",
        "b-nomad-build-service",
    ]
    assert jobs["b-image-build-gpu"]["constraint"][0]["attribute"].strip('"') == "${meta.gpu}"


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"driver": "podman"}, "driver"),
        ({"name_prefix": "a_b"}, "name_prefix"),
        ({"build_classes": {"large": CLASS}}, "default"),
        ({"build_classes": {"default": CLASS, "A b": CLASS}}, "class name"),
        ({"build_network_allow": ["everything"]}, "build_network_allow"),
        ({"build_timeout": "soon"}, "build_timeout"),
        ({"auth_mode": "basic"}, "auth_mode"),
        ({"audit": "none"}, "audit"),
        ({"auth_mode": "jwt"}, "auth_audience"),
        ({"intermediate_repository": "host/x:tag"}, "intermediate_repository"),
        ({"driver": "docker", "vault_addr": "https://127.0.0.1:8200"}, "network_mode"),
    ],
)
def test_wrong_variables_are_refused_by_name(
    cluster: Cluster, tmp_path: Path, variables: dict[str, Any], word: str
) -> None:
    file = tmp_path / "vars.hcl"
    file.write_text("".join(f"{name} = {hcl(value)}\n" for name, value in variables.items()))
    done = nomad_pack(cluster, "render", str(PACK), "--name", "t", "-f", str(file))
    assert done.returncode != 0
    assert word in done.stdout + done.stderr


def test_rendered_host_volume_takes_the_place_of_a_bound_directory(
    cluster: Cluster, tmp_path: Path
) -> None:
    jobs = render(cluster, tmp_path, driver="docker", network_mode="host", storage_volume="layers")
    for name in ("image-build", "image-prune", "image-promote", "image-check", "image-cleanup"):
        for group in (body for one in jobs[name]["group"] for body in one.values()):
            assert [volume for one in group["volume"] for volume in one] == ['"storage"'], name
        for task in tasks(jobs[name]).values():
            bound = [one.strip('"') for one in task["config"][0]["volumes"]]
            assert not [one for one in bound if one.startswith(str(cluster.state.storage))]
            destination = task["volume_mount"][0]["destination"].strip('"')
            assert destination == str(cluster.state.storage)


def test_what_owners_may_use_reaches_the_controller_and_its_tasks(
    cluster: Cluster, tmp_path: Path
) -> None:
    policies = {
        "team-*": {"repositories": ["git.example.com/{owner}/**"], "max_running": 3},
        "*": {"vault_paths": []},
    }
    render(
        cluster,
        tmp_path,
        owner_policies=policies,
        git_hosts=["git.example.com", "*.example.org"],
        allow_anonymous=True,
        audit="all",
    )

    def env(job: str, task: str) -> dict[str, str]:
        path = next((tmp_path / "out").rglob(f"{job}.nomad"))
        read = cli(cluster, "nomad", "job", "run", "-output", str(path))
        group = json.loads(read.stdout)["Job"]["TaskGroups"][0]
        found: dict[str, str] = next(one["Env"] for one in group["Tasks"] if one["Name"] == task)
        return {name: value for name, value in found.items() if "${" not in value}

    settings = load(env("nomad_build_service", "controller"), {})
    assert {one.owner: one.max_running for one in settings.owner_policies} == {"team-*": 3, "*": 0}
    assert settings.owner_policies[1].repositories == ("git.example.com/{owner}/**",)
    assert settings.owner_policies[0].vault_paths == ()
    assert settings.git_hosts == ("git.example.com", "*.example.org")
    assert settings.git_protocols == ("https", "ssh", "http")
    assert (settings.allow_anonymous, settings.audit) == (True, "all")
    assert env("image_build", "build")["NBS_GIT_HOSTS"] == "git.example.com,*.example.org"


@pytest.mark.slow
def test_second_deployment_beside_the_first(builds: Builds) -> None:
    cluster = builds.cluster
    access = ("--name-prefix", "second-", "--role-prefix", "second")
    allowed = access_setup(cluster, *access, "--apply")
    assert allowed.returncode == 0, allowed.stderr
    file = cluster.state.config / "pack-second.hcl"
    try:
        cluster.pack.deploy(
            {
                "name_prefix": "second-",
                "vault_role_prefix": "second",
                "consul_auth_method": "second",
            },
            name="second",
        )
        planned = nomad_pack(cluster, "plan", str(PACK), "--name", "second", "-f", str(file))
        # nomad-pack's plan always sees a change in a parameterized job: no allocation to compare.
        assert planned.returncode in (0, 1), planned.stdout + planned.stderr
        status = nomad_pack(cluster, "status", PACK.name, "--name", "second")
        assert "second-image-build" in status.stdout
        other = Builds(cluster, cluster.pack.wait_healthy("second-"))
        assert other.address != builds.address
        assert builds.http.get("/health").status_code == 200
        built = other.run(other.request(other.dockerfile("RUN true")), "SUCCEEDED")
        assert nomad_job_id(built["job_id"]).startswith("second-image-build/")
    finally:
        # stop and destroy render the pack again: they need the same variables.
        stopped = nomad_pack(cluster, "stop", str(PACK), "--name", "second", "-f", str(file))
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        cluster.pack.destroy(name="second")
        taken_back = access_setup(cluster, *access, "--undo", "--apply")
        assert taken_back.returncode == 0, taken_back.stderr
    eventually(
        "its jobs are gone",
        lambda: (
            not [
                job
                for job in builds.nomad.get("/v1/jobs", params={"prefix": "second-"}).json()
                if not job["Stop"] and job["Status"] != "dead"  # its build stays a while
            ]
        ),
    )
    assert builds.http.get("/ready").status_code == 200


def test_promote_gives_further_tags_and_rebuilds_nothing(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"))
    status = builds.run(request, "SUCCEEDED")
    child = builds.dispatch(
        {
            "image": status["image"],
            "digest": status["digest"],
            "tags": ["stable", "1"],
            "registry_credentials_path": request["registry_credentials_path"],
        },
        job="image-promote",
    )
    allocation = eventually("promotion ended", lambda: _ended(builds, child))
    assert allocation["ClientStatus"] == "complete", allocation["TaskStates"]
    assert builds.tags(request) == ["1", "stable", "v1"]
    assert {builds.digest(request, tag) for tag in ("1", "stable")} == {status["digest"]}


def test_prune_removes_what_a_dead_build_left(builds: Builds) -> None:
    import os
    import shutil

    status = builds.run(builds.request(builds.dockerfile("RUN true"), owner="prune"), "SUCCEEDED")
    assert status["digest"]
    storage = builds.cluster.state.storage
    owner = max(storage.iterdir(), key=lambda path: (path / "lock").stat().st_mtime)
    dead, fresh = owner / "scratch" / "dead-build", owner / "scratch" / "living-build"
    account = builds.cluster.task_account
    for scratch in (dead, fresh):
        (scratch / "src").mkdir(parents=True)
        account.own(scratch)
    os.utime(dead, (1, 1))
    try:
        answer = builds.nomad.post("/v1/job/image-prune/periodic/force")
        assert answer.status_code == 200, answer.text
        eventually("the dead build's files are gone", lambda: not dead.exists())
        assert fresh.exists()
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _ended(builds: Builds, child: str) -> dict[str, Any] | None:
    allocation = builds.allocation(child)
    return (
        allocation if allocation and allocation["ClientStatus"] in ("complete", "failed") else None
    )
