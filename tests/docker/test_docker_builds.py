"""The pipeline in containers of the image: build, test, publish, cache, failures, kill, prune."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, cli, eventually, nomad_job_id
from copies import copy_of_image_build, outcome

from cluster.servers.docker import Docker


def containers(engine: Docker, alloc_id: str) -> list[str]:
    """The names of an allocation's containers, running or not."""
    listed = engine.run("ps", "--all", "--format", "{{.Names}}").stdout.split()
    return [name for name in listed if alloc_id in name]


def assert_clean(builds: Builds, engine: Docker, job_id: str) -> None:
    alloc_id = builds.await_end(nomad_job_id(job_id))["ID"]
    storage = builds.cluster.state.root / "docker-storage"
    assert list(storage.glob(f"*/scratch/{alloc_id}")) == []
    marks = storage.glob("*/root/overlay-containers/*/userdata/buildah.json")
    assert [path for path in marks if alloc_id in path.read_text()] == []
    eventually("its containers are gone", lambda: not containers(engine, alloc_id))


def failed(builds: Builds, engine: Docker, request: dict[str, Any]) -> dict[str, Any]:
    status = builds.run(request, "FAILED")
    assert builds.tags(request) == []
    assert_clean(builds, engine, status["job_id"])
    failure: dict[str, Any] = status["failure"]
    return failure


def test_build_test_publish_and_a_warm_build(builds: Builds, engine: Docker) -> None:
    repository = builds.dockerfile(
        "RUN echo layer > /layer", "RUN --mount=type=cache,target=/c echo cached >> /c/x"
    )
    request = builds.request(repository, test_commands=["test -e /layer", ["/bin/cat", "/layer"]])
    cold = builds.run(request, "SUCCEEDED")
    assert builds.tags(request) == ["v1"]
    assert builds.digest(request, "v1") == cold["digest"]
    assert builds.run_image(f"{cold['image']}@{cold['digest']}", "cat", "/layer") == "layer\n"
    assert_clean(builds, engine, cold["job_id"])
    warm = builds.run(request | {"image_tags": ["v2"]}, "SUCCEEDED")
    assert (cold["cache"]["hits"], warm["cache"]["misses"]) == (0, 0)
    assert warm["digest"] == cold["digest"]


def test_failing_step_and_failing_test(builds: Builds, engine: Docker) -> None:
    broken = builds.request(builds.dockerfile("RUN echo fine", "RUN echo broken && exit 42"))
    failure = failed(builds, engine, broken)
    assert (failure["reason"], failure["dockerfile_line"]) == ("RunFailed", 3)
    assert failure["exit_code"] == 42
    untrue = builds.request(builds.dockerfile("RUN true"), test_commands=["exit 7"])
    failure = failed(builds, engine, untrue)
    assert (failure["reason"], failure["exit_code"]) == ("TestFailed", 7)


def test_memory_used_up(builds: Builds, engine: Docker) -> None:
    """The runner sees the kernel's count in its own container, and says whose limit it was."""
    request = builds.request(builds.dockerfile("RUN tail /dev/zero"))
    failure = failed(builds, engine, request)
    assert failure["reason"] == "OutOfMemory"
    assert "2048 MB" in failure["message"]


@pytest.mark.parametrize("phase", ["build", "test"])
def test_less_memory_by_request(builds: Builds, engine: Docker, phase: str) -> None:
    """In its container, too, the runner sees what the processes in their namespaces have."""
    take = "dd if=/dev/zero of=/dev/null bs=400M count=100000"
    lines, tests = (f"RUN {take}", []) if phase == "build" else ("RUN true", [take])
    limits = {phase: {"memory": 256}}
    repository = builds.dockerfile(lines)
    request = builds.request(repository, test_commands=tests, resource_limits=limits)
    failure = failed(builds, engine, request)
    assert (failure["phase"], failure["reason"]) == (phase, "OutOfMemory")
    assert f"resource_limits.{phase}.memory is 256" in failure["message"]


def test_kill_while_building(builds: Builds, engine: Docker) -> None:
    request = builds.request(builds.dockerfile("RUN echo has-begun; sleep 300"))
    job_id = builds.submit(request)
    builds.await_log(job_id, "has-begun")
    answer = builds.http.post("/mcp/killJob", json={"job_id": job_id})
    assert answer.json()["success"] is True, answer.text
    builds.await_status(job_id, "CANCELLED")
    assert builds.tags(request) == []
    assert_clean(builds, engine, job_id)


def test_prune_removes_what_a_dead_build_left(builds: Builds) -> None:
    builds.run(builds.request(builds.dockerfile("RUN true"), owner="prune"), "SUCCEEDED")
    storage = builds.cluster.state.root / "docker-storage"
    owner = max(storage.iterdir(), key=lambda path: (path / "lock").stat().st_mtime)
    dead = Path(owner, "scratch", "dead-build")
    (dead / "src").mkdir(parents=True)
    os.chown(dead, 1000, 1000)
    os.chown(dead / "src", 1000, 1000)
    os.utime(dead, (1, 1))
    answer = builds.nomad.post("/v1/job/docker-image-prune/periodic/force")
    assert answer.status_code == 200, answer.text
    eventually("the dead build's files are gone", lambda: not dead.exists())


VOLUME = """
name      = "layers"
type      = "host"
plugin_id = "mkdir"
node_id   = "%s"
capability {
  access_mode     = "single-node-multi-writer"
  attachment_mode = "file-system"
}
parameters {
  uid  = 1000
  gid  = 1000
  mode = "0700"
}
"""


def test_storage_in_a_host_volume(builds: Builds, tmp_path: Path) -> None:
    """As the pack's storage_volume has it, without any directory of the node bound by path."""
    (tmp_path / "volume.hcl").write_text(VOLUME % builds.cluster.nomad.node()["ID"])
    made = cli(builds.cluster, "nomad", "volume", "create", "-detach", str(tmp_path / "volume.hcl"))
    assert made.returncode == 0, made.stderr
    storage = str(builds.cluster.state.root / "docker-storage")

    def change(task: dict[str, Any]) -> None:
        bound = task["Config"]["volumes"]
        task["Config"]["volumes"] = [one for one in bound if not one.startswith(storage)]
        task["VolumeMounts"] = [{"Volume": "storage", "Destination": storage}]

    volumes = {
        "storage": {
            "Name": "storage",
            "Type": "host",
            "Source": "layers",
            "AccessMode": "single-node-multi-writer",
            "AttachmentMode": "file-system",
        }
    }
    request = builds.request(builds.dockerfile("RUN true"), test_commands=["true"])
    try:
        with copy_of_image_build(builds, change, volumes) as name:
            ended = builds.await_end(builds.dispatch(request, name))
            found = outcome(builds, ended)
            assert found["status"] == "SUCCEEDED", found["failure"]
            assert builds.tags(request) == ["v1"]
    finally:
        gone = cli(builds.cluster, "nomad", "volume", "status", "-type", "host", "-json")
        for volume in json.loads(gone.stdout):
            cli(builds.cluster, "nomad", "volume", "delete", "-type", "host", volume["ID"])


def test_container_has_no_more_than_it_needs(builds: Builds, engine: Docker) -> None:
    """What the engine was told, of the container in which a build step runs at this moment."""
    job_id = builds.submit(builds.request(builds.dockerfile("RUN echo has-begun; sleep 300")))
    builds.await_log(job_id, "has-begun")
    allocation = builds.allocation(nomad_job_id(job_id))
    assert allocation
    name = f"build-{allocation['ID']}"
    told = json.loads(engine.run("inspect", name).stdout)[0]
    builds.http.post("/mcp/killJob", json={"job_id": job_id})
    host = told["HostConfig"]
    assert host["Privileged"] is False
    assert [word.upper() for word in host["CapDrop"]] == ["ALL"]
    assert sorted(word.upper().removeprefix("CAP_") for word in host["CapAdd"]) == [
        "SETGID",
        "SETUID",
    ]
    assert host["ReadonlyRootfs"] is True
    assert host["PidMode"] in ("", "private")
    assert [device["PathOnHost"] for device in host["Devices"]] == ["/dev/net/tun"]
    assert told["Config"]["User"] == "build"
    (profile,) = [option for option in host["SecurityOpt"] if option.startswith("seccomp=")]
    assert json.loads(profile.removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"
    sources = [mount["Source"] for mount in told["Mounts"] if mount["Type"] == "bind"]
    state = builds.cluster.state
    for source in sources:
        own = (str(state.allocations / allocation["ID"]), str(state.root / "docker-storage"))
        secrets = str(state.root / "m")
        assert source.startswith((*own, secrets)) or source == str(state.cacert), sources
