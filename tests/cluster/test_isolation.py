"""What a test command and a RUN step can reach: not the network, not the host, not each other."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from builds import Builds
from listening import METADATA, Metadata, host_address, listener, metadata_address
from probe import with_environment


def test_test_command_reaches_no_network(builds: Builds, metadata: Metadata) -> None:
    own = host_address()
    nomad_port = builds.cluster.nomad.address.rpartition(":")[2]
    with (
        listener("127.0.0.1") as (near_port, near),
        listener("0.0.0.0") as (far_port, far),
    ):
        probes = [
            metadata.closed,
            f"for target in '127.0.0.1 {near_port}' '{own} {far_port}' '10.0.2.2 {near_port}';"
            " do if echo leaked | timeout 3 nc $target; then exit 1; fi; done",
            'test "$(ls /sys/class/net)" = lo',
            f"! timeout 3 nc 127.0.0.1 {nomad_port} </dev/null",
        ]
        # The listener is real: the host itself reaches it.
        socket.create_connection(("127.0.0.1", near_port)).sendall(b"from the host")
        builds.run(builds.request(builds.dockerfile("RUN true"), test_commands=probes), "SUCCEEDED")
        assert near == [b"from the host"]
        assert far == []


def test_run_step_reaches_neither_loopback_nor_addresses_of_the_host(
    builds: Builds, metadata: Metadata
) -> None:
    own = host_address()
    with (
        listener("127.0.0.1") as (near_port, near),
        listener("0.0.0.0") as (far_port, far),
    ):
        repository = builds.dockerfile(
            f"RUN for target in '127.0.0.1 {near_port}' '{own} {far_port}' '10.0.2.2 {near_port}';"
            " do if echo leaked | timeout 3 nc $target; then exit 1; fi; done",
            f"RUN {metadata.closed}",
        )
        builds.run(builds.request(repository), "SUCCEEDED")
        assert (near, far) == ([], [])


def test_run_step_without_network_by_request(builds: Builds) -> None:
    repository = builds.dockerfile('RUN test "$(ls /sys/class/net)" = lo')
    builds.run(builds.request(repository, build_network="none"), "SUCCEEDED")


def test_run_step_sees_no_process_and_no_file_of_the_host(builds: Builds) -> None:
    state = builds.cluster.state.root
    repository = builds.dockerfile(
        'RUN test "$(ls -d /proc/[0-9]* | wc -l)" -lt 20',
        "RUN ! cat /proc/[0-9]*/comm | grep -qx nomad",
        f"RUN test ! -e {state} && test ! -e /proc/1/root{state}",
        "RUN ! chroot / /bin/true 2>/dev/null",
    )
    request = builds.request(
        repository,
        test_commands=[
            f"test ! -e {state}",
            'test "$(ls -d /proc/[0-9]* | wc -l)" -lt 20',
            "! chroot / /bin/true 2>/dev/null",
        ],
    )
    builds.run(request, "SUCCEEDED")


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="no ordinary user gives the host an address")
def test_the_metadata_address_is_reached_where_the_operator_allows_it(
    builds: Builds, tmp_path: Path
) -> None:
    """What the probes above try does get through where nothing is in its way."""
    env = {"NBS_BUILD_NETWORK_ALLOW": f"{METADATA}/32"}
    with (
        metadata_address(),
        listener(METADATA) as (port, heard),
        with_environment(builds, tmp_path, env) as own,
    ):
        probe = f"RUN echo through | timeout 3 nc {METADATA} {port}"
        own.run(own.request(own.dockerfile(probe)), "SUCCEEDED")
    assert heard == [b"through\n"]
