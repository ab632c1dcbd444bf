"""A receiver of webhooks: a real HTTP server in a thread of the test."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed(self, key: str) -> bool:
        """Verify both signatures as the documentation tells receivers to."""
        dated = f"{self.headers['x-webhook-id']}.{self.headers['x-webhook-timestamp']}.".encode()
        return all(
            hmac.compare_digest(
                self.headers[name],
                "sha256=" + hmac.new(key.encode(), message, hashlib.sha256).hexdigest(),
            )
            for name, message in (
                ("x-webhook-signature", self.body),
                ("x-webhook-signature-v2", dated + self.body),
            )
        )


@dataclass
class Receiver:
    """What came; `answers` are the statuses to give first, then 204, each with its headers."""

    address: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    hold: threading.Event | None = None
    answer_body: bytes = b""

    def of(self, job_id: str) -> list[Call]:
        return [call for call in self.calls if call.document["job_id"] == job_id]


@contextmanager
def receiving(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """Receive until the context ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given = {name.lower(): value for name, value in self.headers.items()}
            receiver.calls.append(Call(self.command, self.path, given, body))
            if receiver.hold is not None:
                receiver.hold.wait(60)
            status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.answer_body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *args: object) -> None:
            pass  # a caller that hung up

    server = Server((host, port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    receiver.address = f"{scheme}://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
