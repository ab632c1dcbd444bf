"""The API in this process, whole but for what it depends on: no Nomad, no Consul answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio.from_thread
import httpx

from controller import app
from controller.service import running
from controller.settings import load

ACCEPT = "application/json, text/event-stream"
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TASKS = "io.modelcontextprotocol/tasks"
NOWHERE = "http://127.0.0.1:1"


@dataclass
class Api:
    """Sends requests; each gets an answer as JSON, whether it came as JSON or as an event."""

    portal: anyio.from_thread.BlockingPortal
    client: httpx.AsyncClient

    def send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            return await self.client.request(method, path, **kwargs)

        return self.portal.call(send)

    def post(self, content: bytes, **headers: str | bytes) -> httpx.Response:
        told: dict[str, str | bytes] = {
            "Accept": ACCEPT,
            "Content-Type": "application/json",
            **headers,
        }
        return self.send("POST", "/mcp", content=content, headers=told)

    def modern(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        capabilities: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A request of 2026-07-28."""
        given = dict(params or {})
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": dict(capabilities or {}),
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            **given.pop("_meta", {}),
        }
        name = given.get("name") or given.get("uri") or given.get("taskId")
        told = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        told |= {"Mcp-Name": str(name)} if name else {}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given | {"_meta": meta}}
        return self.post(json.dumps(message).encode(), **{**told, **(headers or {})})

    def legacy(self, method: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        """A request of the 2025 revisions, without a session."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}
        return self.post(json.dumps(message).encode(), **{"MCP-Protocol-Version": LEGACY})

    def tool(self, name: str, arguments: Any) -> dict[str, Any]:
        """The result of a tool, of the present revision."""
        answer = self.modern("tools/call", {"name": name, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result


def message(answer: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC message of an answer."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        data = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        found: dict[str, Any] = json.loads(data[-1].removeprefix("data: "))
    else:
        found = answer.json()
    return found


@contextmanager
def serving() -> Iterator[Api]:
    """The API, served."""
    settings = load({"NOMAD_ADDR": NOWHERE, "CONSUL_HTTP_ADDR": NOWHERE}, {})

    def fail(error: BaseException) -> None:
        raise error

    @asynccontextmanager
    async def served() -> AsyncIterator[httpx.AsyncClient]:
        async with (
            running(settings, fail) as service,
            app.serving(service) as application,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(application), base_url="http://127.0.0.1", timeout=30
            ) as client,
        ):
            yield client

    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(served()) as client,
    ):
        yield Api(portal, client)
