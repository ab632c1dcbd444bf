"""Ports, state directories, processes, accounts and HCL of the embedded cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from cluster import host_accounts, installation, teardown
from cluster.account import Account
from cluster.errors import ClusterError
from cluster.pack import hcl
from cluster.paths import StateDirectory, default_state_directory
from cluster.ports import Ports, is_free
from cluster.process import Process
from cluster.waiting import wait_for


def test_ports_are_kept_over_restarts_and_do_not_collide(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    ports = Ports(file)
    chosen = {name: ports.get(name) for name in ("nomad", "vault", "consul")}
    lowest, highest = ports.dynamic_range()

    again = Ports(file)

    assert {name: again.get(name) for name in chosen} == chosen
    assert again.dynamic_range() == (lowest, highest)
    assert len(set(chosen.values())) == 3
    assert all(not lowest <= port <= highest for port in chosen.values())


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])


def test_a_state_directory_too_long_for_sockets_is_refused_with_the_next_step() -> None:
    with pytest.raises(ClusterError, match="NBS_STATE_DIR to a shorter path"):
        StateDirectory(Path("/var/lib/" + "x" * 60)).require_short()
    StateDirectory(Path("/var/lib/nbs-demo")).require_short()
    StateDirectory(Path("/home/somebody/.local/state/nbs-demo")).require_short()


def test_the_state_directory_can_be_chosen() -> None:
    assert default_state_directory({"NBS_STATE_DIR": "/srv/x"}) == Path("/srv/x")


def test_a_directory_that_is_no_cluster_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")

    with pytest.raises(ClusterError, match="nothing was removed"):
        teardown.remove_files(StateDirectory(tmp_path))

    assert precious.read_text() == "years of work"


def started(tmp_path: Path, *argv: str) -> Process:
    process = Process("sleeper", tmp_path, tmp_path / "sleeper.log")
    process.start(argv, account=Account.current(), environ={"PATH": os.defpath}, directory=tmp_path)
    return process


def test_a_process_is_found_again_by_its_record_and_stopped(tmp_path: Path) -> None:
    process = started(tmp_path, "sleep", "60")
    again = Process("sleeper", tmp_path, tmp_path / "sleeper.log")
    assert again.pid == process.pid

    process.stop()

    assert again.pid is None


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    wait_for("trap is set", lambda: "up" in process.log.read_text(), seconds=5)

    process.stop(seconds=0.2)

    assert process.pid is None


def test_a_recycled_pid_is_never_taken_for_ours(tmp_path: Path) -> None:
    """A record whose start time differs names a stranger: it is neither alive nor signalled."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        process = started(tmp_path, "sleep", "60")
        record_file = tmp_path / "sleeper.json"
        record = json.loads(record_file.read_text())
        process.stop()
        record_file.write_text(json.dumps({**record, "pid": stranger.pid, "started": 1}))

        claimed = Process("sleeper", tmp_path, tmp_path / "sleeper.log")
        assert claimed.pid is None
        claimed.stop(force=True)

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_waiting_names_what_was_waited_for_the_last_error_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("first\nbind: address already in use\n")

    def refused() -> bool:
        raise ConnectionRefusedError("connection refused")

    with pytest.raises(ClusterError) as error:
        wait_for("the server answers", refused, seconds=0.1, log=log)

    assert "the server answers" in str(error.value)
    assert "connection refused" in str(error.value)
    assert "address already in use" in str(error.value)


def test_hcl_strings_cannot_become_expressions() -> None:
    assert hcl('a ${b} %{if c} "d"\n') == '"a $${b} %%{if c} \\"d\\"\\n"'
    assert hcl(["x", "y"]) == '["x", "y"]'
    assert hcl(True) == "true"


def test_a_free_range_of_subordinate_ids_overlaps_nobodys(tmp_path: Path) -> None:
    uids, gids = tmp_path / "subuid", tmp_path / "subgid"
    uids.write_text("a:100000:65536\nb:165536:65536\n")
    gids.write_text("a:100000:65536\nc:200000:100000\n")

    assert host_accounts.next_free(uids, gids) == 100000 + 4 * 65536
    assert host_accounts.next_free(tmp_path / "absent") == 100000


def test_the_runner_is_installed_whole_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    prefix = tmp_path / "node"
    buildah = tmp_path / "buildah"
    buildah.write_text("#!/bin/sh\n")

    assert len(installation.missing(prefix, controller=False)) == 3
    installation.install_runner(prefix, buildah)
    before = {path: path.stat().st_mtime_ns for path in prefix.rglob("*")}
    installation.install_runner(prefix, buildah)

    assert installation.missing(prefix, controller=False) == []
    assert {path: path.stat().st_mtime_ns for path in prefix.rglob("*")} == before
    assert (prefix / "bin" / "nbs-task").read_text().startswith("#!/usr/bin/python3 -IS\n")
    assert not (prefix / "bin" / "nbs-task").stat().st_mode & 0o022
