"""Loopback servers, made reachable for containers that have a network of their own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.certificates import Authority
from cluster.cluster import Cluster


@contextmanager
def forwarded(address: str, port: int, *, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Forward ADDRESS:PORT to the same port of 127.0.0.1.

    With `tls`, that is the certificate for callers, and the server's own is not looked at.
    """
    done = threading.Event()
    with socket.create_server((address, port)) as server:
        server.settimeout(0.2)

        def serve() -> None:
            while not done.is_set():
                with contextlib.suppress(OSError):
                    near, _ = server.accept()
                    threading.Thread(target=_join, args=(near, port, tls), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _join(near: socket.socket, port: int, tls: ssl.SSLContext | None) -> None:
    far = socket.create_connection(("127.0.0.1", port))
    with contextlib.suppress(OSError):
        near.settimeout(60)
        far.settimeout(60)
        if tls:
            near = tls.wrap_socket(near, server_side=True)
            unverified = ssl._create_unverified_context()
            far = unverified.wrap_socket(far)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()
    near.close()
    far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def servers_at(cluster: Cluster, address: str, directory: Path) -> Iterator[None]:
    """Registry, Git and Vault of the cluster at `address`, with the ports that they have."""
    authority = Authority(cluster.state.cacert, cluster.state.secrets / "ca-key.pem")
    signed = authority.certificate("vault", address)
    for name, text in (("cert.pem", signed.certificate), ("key.pem", signed.key)):
        (directory / name).write_text(text)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    plain = (cluster.registry.host, cluster.git_http.url("x", private=True).split("/")[2])
    with contextlib.ExitStack() as stack:
        for port in _ports(plain):
            stack.enter_context(forwarded(address, port))
        for port in _ports([cluster.vault.address]):
            stack.enter_context(forwarded(address, port, tls=tls))
        yield


def _ports(addresses: Sequence[str]) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in addresses]
