"""A proxy before the real registry that misbehaves as it is told, and counts what it did."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# What becomes of a request: None passes it on, a number answers with it, a word does what it says.
Fault = int | str | None
Decide = Callable[[str, str, int], Fault]
_NOT_PASSED_ON = {"connection", "host", "transfer-encoding"}


class FaultProxy:
    """`decide(method, path, n)` is asked for each request, the nth of its method and path.

    `stall` answers nothing until the proxy is closed, `reset` breaks the connection, `half` breaks
    it after a part of the request's body has been read; `cut` breaks it in the middle of the
    answer, and `hang` goes no further from there.
    """

    def __init__(self, decide: Decide, retry_after: str = "") -> None:
        self.decide = decide
        self.retry_after = retry_after
        self.seen: Counter[tuple[str, str]] = Counter()
        self.faults: list[tuple[str, str, Fault]] = []
        self.closed = threading.Event()

    def told(self, method: str, path: str) -> Fault:
        self.seen[method, path] += 1
        fault = self.decide(method, path, self.seen[method, path])
        if fault is not None:
            self.faults.append((method, path, fault))
        return fault


def fault_times(times: int, fault: Fault, method: str, part: str) -> Decide:
    """The fault for the first requests of this method whose path holds `part`."""
    count = Counter[str]()

    def decide(asked: str, path: str, _: int) -> Fault:
        if asked != method or part not in path:
            return None
        count["all"] += 1
        return fault if count["all"] <= times else None

    return decide


@contextmanager
def proxy(listen: str, upstream: str, faults: FaultProxy) -> Iterator[FaultProxy]:
    """Serve on HOST:PORT until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """The tests look at `faults`."""

        def handle_all(self) -> None:
            fault = faults.told(self.command, urlsplit(self.path).path)
            if fault == "stall":
                faults.closed.wait()
                self.close_connection = True
                return
            if fault in ("reset", "half"):
                if fault == "half":
                    self.rfile.read1(1000)
                self._break()
                return
            body = self._body()
            if isinstance(fault, int):
                self._answer(fault, {"Retry-After": faults.retry_after}, b"")
                return
            self._pass_on(body, str(fault or ""))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_all  # noqa: N815

        def _break(self) -> None:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def _pass_on(self, body: bytes, fault: str) -> None:
            host, _, port = upstream.partition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            headers = {
                name: ", ".join(self.headers.get_all(name, []))  # Accept comes once for each type
                for name in self.headers
                if name.lower() not in _NOT_PASSED_ON
            } | {"Host": listen, "Content-Length": str(len(body))}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            shown = content[: len(content) // 2] if fault else content
            self._answer(answer.status, dict(answer.getheaders()), content, shown)
            if fault == "hang":
                self.wfile.flush()
                faults.closed.wait()
                self.close_connection = True
            elif fault == "cut":
                self.wfile.flush()
                self._break()

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, shown: bytes | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value and name.lower() not in (
                    "connection",
                    "content-length",
                    "transfer-encoding",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content if shown is None else shown)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """A client that was broken off complains; that is what it was for."""

    host, _, port = listen.partition(":")
    server = Server((host, int(port)), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        faults.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()
