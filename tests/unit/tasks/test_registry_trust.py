"""A registry that the node does not trust, told from one that is away."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cluster.certificates import Authority
from controller.tasks.errors import PhaseFailed
from controller.tasks.registries.registry_api import RegistryApi
from controller.tasks.registries.tries import Transient

HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_a_certificate_of_nobody_known(tmp_path: Path) -> None:
    made = Authority(tmp_path / "ca.pem", tmp_path / "ca.key").certificate("registry")
    (tmp_path / "pair.pem").write_text(made.certificate + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")

    def answer(client: socket.socket) -> None:
        with pytest.raises(ssl.SSLError):  # the caller hangs up
            context.wrap_socket(client.dup(), server_side=True)

    assert refused(answer).reason == "RegistryNotTrusted"


def test_a_registry_without_tls() -> None:
    assert refused(lambda client: client.sendall(HTTP)).reason == "RegistryNotTrusted"


def test_a_registry_that_hangs_up_may_be_back() -> None:
    assert isinstance(refused(lambda client: client.shutdown(socket.SHUT_WR)), Transient)


def refused(answer: Callable[[socket.socket], None]) -> PhaseFailed:
    """Why nothing can be pushed to a registry that answers so."""
    with listening(answer) as address, pytest.raises(PhaseFailed) as raised:
        RegistryApi(f"{address}/app", {}).may_push()
    return raised.value


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """An address at which one caller is answered, after its first bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1, socket.MSG_PEEK)
                answer(client)
                with suppress(ConnectionResetError):
                    client.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
