"""Somebody at home where isolated code must not get through: otherwise no probe could fail."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

METADATA = "169.254.169.254"  # where clouds tell a machine its credentials
FROM_HOST = b"from the host"
# Nothing but loopback, or a route that drops what goes there: iface * in proc(5), /proc/net/route.
_NO_WAY = (
    "{ test $(wc -l < /proc/net/route) -le 1"
    " || grep -q '^\\*[[:space:]]*0000FEA9[[:space:]]' /proc/net/route; }"
)


@contextmanager
def listener(address: str) -> Iterator[tuple[int, list[bytes]]]:
    """A TCP listener on the host; the list holds what arrived."""
    heard: list[bytes] = []
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    if done.is_set():
                        return
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


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as any_server:
        port: int = any_server.getsockname()[1]
        return port


def host_address() -> str:
    """An address of this host that is not loopback, as its own routing table names it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect(("203.0.113.1", 9))
        address: str = any_socket.getsockname()[0]
        return address


@dataclass(frozen=True)
class Metadata:
    """The metadata service. `closed` is a shell command that fails where it can be reached."""

    closed: str
    heard: list[bytes] = field(default_factory=list)


@contextmanager
def metadata_service() -> Iterator[Metadata]:
    """A service at the metadata address that the host itself reaches, and at the end nobody else.

    Who is not root cannot have one: then the probe looks at the way there only.
    """
    if os.geteuid():
        yield Metadata(_NO_WAY)
        return
    with metadata_address(), listener(METADATA) as (port, heard):
        with socket.create_connection((METADATA, port), timeout=5) as connection:
            connection.sendall(FROM_HOST)
        reaching = f"{{ echo leaked | timeout 3 nc {METADATA} {port}; }}"
        yield Metadata(f"! {reaching} && {_NO_WAY}", heard)
    assert heard == [FROM_HOST]


@contextmanager
def metadata_address() -> Iterator[None]:
    """Let this host answer at the metadata address, by a route; for root.

    As an address of an interface it would be closed to builds for being the host's own. Another
    session of the tests on this host waits.
    """
    lock = Path(tempfile.gettempdir(), "nbs-metadata-address.lock")
    route = ("local", f"{METADATA}/32", "dev", "lo")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.run(["ip", "route", "replace", *route], check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "route", "del", *route], check=True)
