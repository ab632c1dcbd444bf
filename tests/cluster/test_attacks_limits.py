"""Hostile code that takes more than its share: of time after its end, log, processes, disk."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import log_lines, serving, sse
from probe import PREFIX, copy_of_image_build, vault_roles, with_own_role

from cluster.cluster import Cluster

# Each leaves its parent, its session or its terminal, and hears no signal.
OUTLIVING = (
    "trap '' TERM INT HUP QUIT; setsid sleep {0} </dev/null >/dev/null 2>&1 & "
    "(nohup sh -c 'trap \"\" TERM INT HUP; sleep {0}; true' >/dev/null 2>&1 &) ; "
    "(setsid sh -c '(trap \"\" TERM INT HUP; sleep {0}; true) &' &); sleep 0.3; echo has-begun"
)
BOMB = "bomb() { bomb | bomb & }; bomb; wait; sleep 1000"
LIMIT = 64 << 20  # the pack's log_max_mb


def number() -> str:
    """Seconds to sleep that no other process sleeps."""
    return str(10**6 + uuid.uuid4().int % 10**6)


def running(words: str) -> list[int]:
    """The processes of the node with these words in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if words.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def healthy(builds: Builds, status: dict[str, Any]) -> None:
    """Nothing of the build is left, and the next one is like any other."""
    builds.assert_clean(builds.await_end(nomad_job_id(status["job_id"]))["ID"])
    builds.run(builds.request(builds.dockerfile("RUN true"), test_commands=["true"]), "SUCCEEDED")


def test_nothing_outlives_a_run_step_or_a_test(builds: Builds) -> None:
    seconds = number()
    request = builds.request(
        builds.dockerfile(f"RUN {OUTLIVING.format(seconds)}"),
        test_commands=[OUTLIVING.format(seconds)],
    )
    status = builds.run(request, "SUCCEEDED")
    assert running(seconds) == []
    healthy(builds, status)


@pytest.mark.parametrize("phase", ["build", "test"])
def test_nothing_outlives_a_kill(builds: Builds, phase: str) -> None:
    seconds = number()
    attack = f"{OUTLIVING.format(seconds)}; while true; do sleep 1 || true; done"
    request = (
        builds.request(builds.dockerfile(f"RUN {attack}"))
        if phase == "build"
        else builds.request(builds.dockerfile("RUN true"), test_commands=[attack])
    )
    job_id = builds.submit(request)
    eventually("the attack runs", lambda: len(running(seconds)) >= 3, 30)
    assert builds.http.post("/mcp/killJob", json={"job_id": job_id}).json()["success"]
    status = builds.await_status(job_id, "CANCELLED")
    assert running(seconds) == []
    healthy(builds, status)


@pytest.mark.slow
def test_a_flood_of_output_is_cut_off(cluster: Cluster, builds: Builds, tmp_path: Path) -> None:
    """Four times the limit, a gigabyte without a line's end, and what is no text at all."""
    line = "x" * 4000
    request = builds.request(
        builds.dockerfile(
            f"RUN yes {line} | head -c 256000000",
            "RUN head -c 1000000000 /dev/zero | tr '\\0' y",
            "RUN head -c 3000000 /dev/urandom; printf '\\033]0;title\\007\\033[2J\\000\\377\\n'",
            "RUN echo the-end; exit 3",
        )
    )
    with serving(cluster, tmp_path) as one:
        one.post(
            "getLogs",
            {"job_id": builds.run(builds.request(builds.dockerfile("RUN true")))["job_id"]},
        )
        before = one.rss()
        job_id = builds.submit(request)
        eventually(
            "a large log",
            lambda: (
                builds.status(job_id)["status"] == "BUILDING"
                and len(builds.text(job_id)) > 1_000_000
            ),
        )
        events = [event for event, _ in sse(one.address, job_id)]
        status = builds.await_status(job_id, "FAILED")
        answer = one.post("getLogs", {"job_id": job_id})
        assert answer.status_code == 200
        assert one.rss() - before < 100 << 20
    assert (status["failure"]["reason"], status["failure"]["exit_code"]) == ("RunFailed", 3)
    assert "the-end" in status["failure"]["log_tail"]
    text = builds.text(job_id)
    assert "lines beyond the log limit left out" in text
    assert "\\x1b" not in text
    assert "\\x00" not in text
    assert any("RunFailed" in message for _, message in log_lines(events))
    directory = cluster.state.allocations / str(status["alloc_id"]) / "alloc"
    assert (directory / "data/nbs/logs/build.log").stat().st_size <= LIMIT
    # Nomad's own copy: ten files of ten megabytes for each stream.
    assert sum(one.stat().st_size for one in (directory / "logs").iterdir()) <= 101 << 20
    healthy(builds, status)


FILL = "dd if=/dev/zero of=/{name} bs=1M count=100000; echo has-filled; sleep 1000"


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["build", "test"])
def test_filling_the_disk_ends_at_the_floor(
    cluster: Cluster, builds: Builds, tmp_path: Path, phase: str
) -> None:
    """Half a gigabyte is written for real; the floor lies that much below what is free now."""
    free = shutil.disk_usage(cluster.state.storage).free >> 20

    def with_high_floor(task: dict[str, Any]) -> None:
        with_own_role(task)
        task["Env"]["NBS_DISK_FLOOR_MB"] = str(free - 512)

    fill = FILL.format(name=f"fill-{phase}")
    with (
        vault_roles(cluster),
        copy_of_image_build(builds, with_high_floor),
        serving(cluster, tmp_path, {"NBS_NAME_PREFIX": f"{PREFIX}-"}) as one,
    ):
        own = Builds(cluster, one.address)
        request = (
            own.request(own.dockerfile(f"RUN {fill}"))
            if phase == "build"
            else own.request(own.dockerfile("RUN true"), test_commands=[fill])
        )
        begun = time.monotonic()
        status = own.await_status(own.submit(request), "FAILED")
        assert time.monotonic() - begun < 60
        assert (status["failure"]["phase"], status["failure"]["reason"]) == (phase, "OutOfDisk")
        own.assert_clean(own.await_end(nomad_job_id(status["job_id"]))["ID"])
    eventually(
        "the space is given back",
        lambda: shutil.disk_usage(cluster.state.storage).free >> 20 > free - 256,
    )
    builds.run(builds.request(builds.dockerfile("RUN true")), "SUCCEEDED")


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["build", "test"])
def test_a_fork_bomb_ends_with_its_build(builds: Builds, phase: str) -> None:
    request = (
        builds.request(builds.dockerfile(f"RUN {BOMB}"), build_timeout=6)
        if phase == "build"
        else builds.request(builds.dockerfile("RUN true"), test_commands=[BOMB], test_timeout=4)
    )
    begun = time.monotonic()
    job_id = builds.submit(request)
    status = builds.await_status(job_id, "FAILED")
    assert time.monotonic() - begun < 60
    assert status["failure"]["phase"] == phase
    assert status["failure"]["reason"] in (
        "BuildTimeout",
        "RunFailed",
        "TestTimeout",
        "TestFailed",
        "OutOfMemory",
    ), status
    assert running("bomb()") == []
    healthy(builds, status)


@pytest.mark.slow
def test_processes_are_bounded(builds: Builds) -> None:
    """The limit holds for root in the namespace, and cannot be raised from within."""
    many = "for i in $(seq 5000); do sleep 3 & done 2>/dev/null; echo unreachable"
    check = 'test "$(ulimit -u)" -le 8192 && ! (ulimit -u 100000) 2>/dev/null'
    request = builds.request(
        builds.dockerfile(f"RUN {check}"), test_commands=[check, many], test_timeout=30
    )
    status = builds.run(request, "FAILED")
    assert status["failure"]["reason"] in ("TestFailed", "TestTimeout"), status
    assert status["commands"][0]["exit_code"] == 0
    healthy(builds, status)
