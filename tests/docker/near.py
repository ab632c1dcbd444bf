"""Loopback servers, made reachable for containers that have a network of their own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.certificates import Authority
from cluster.cluster import Cluster


class Forwarding:
    """Forwards ports of an address to the same ports of 127.0.0.1, in a thread of its own.

    Where callers are spoken to with a certificate, the server's own is not looked at.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def add(self, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        async def join(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
            unverified = ssl._create_unverified_context() if tls else None
            far, far_out = await asyncio.open_connection("127.0.0.1", port, ssl=unverified)
            await asyncio.gather(_copy(near, far_out), _copy(far, near_out))

        begun = asyncio.start_server(join, address, port, ssl=tls)
        self._servers.append(asyncio.run_coroutine_threadsafe(begun, self._loop).result(10))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


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
    forwarding = Forwarding()
    try:
        for port in _ports(plain):
            forwarding.add(address, port)
        for port in _ports([cluster.vault.address]):
            forwarding.add(address, port, tls)
        yield
    finally:
        forwarding.close()


def _ports(addresses: Sequence[str]) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in addresses]
