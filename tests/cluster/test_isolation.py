"""What a test command and a RUN step can reach: not the network, not the host, not each other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from builds import Builds


@contextmanager
def listener(address: str) -> Iterator[tuple[int, list[bytes]]]:
    """A TCP listener on the host; the list holds what arrived."""
    heard: list[bytes] = []
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    try:
                        heard.append(connection.recv(100))
                    except OSError as error:
                        heard.append(repr(error).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            done.set()
            thread.join()


def host_address() -> str:
    """An address of this host that is not loopback, as its own routing table names it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect(("203.0.113.1", 9))
        address: str = any_socket.getsockname()[0]
        return address


def test_test_command_reaches_no_network(builds: Builds) -> None:
    own = host_address()
    nomad_port = builds.cluster.nomad.address.rpartition(":")[2]
    with listener("127.0.0.1") as (near_port, near), listener("0.0.0.0") as (far_port, far):
        probes = [
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


def test_run_step_reaches_neither_loopback_nor_addresses_of_the_host(builds: Builds) -> None:
    own = host_address()
    with listener("127.0.0.1") as (near_port, near), listener("0.0.0.0") as (far_port, far):
        repository = builds.dockerfile(
            f"RUN for target in '127.0.0.1 {near_port}' '{own} {far_port}' "
            f"'10.0.2.2 {near_port}' '169.254.169.254 80'; do "
            "if echo leaked | timeout 3 nc $target; then exit 1; fi; done"
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
