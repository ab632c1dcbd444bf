"""Requests of the Model Context Protocol by hand, in either era, without a client's help."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

ACCEPT = "application/json, text/event-stream"
MODERN, LEGACY = "2026-07-28", "2025-06-18"
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
_ids = itertools.count(1)


@dataclass
class Mcp:
    """One revision's way to talk to one controller."""

    address: str
    version: str = MODERN
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def message(
        self, method: str, params: Mapping[str, Any] | None, token: str | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """A request's body and headers."""
        given = dict(params or {})
        headers = {"Accept": ACCEPT, "MCP-Protocol-Version": self.version}
        meta: dict[str, Any] = {"progressToken": token} if token else {}
        if self.version == MODERN:
            meta["io.modelcontextprotocol/protocolVersion"] = MODERN
            meta["io.modelcontextprotocol/clientCapabilities"] = dict(self.capabilities)
            headers["Mcp-Method"] = method
            if name := given.get("name") or given.get("uri") or given.get("taskId"):
                headers["Mcp-Name"] = name
        if meta:
            given["_meta"] = meta
        body = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": given}
        return body, headers

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON-RPC message."""
        body, headers = self.message(method, params)
        answer = self.client.post(f"{self.address}/mcp", json=body, headers=headers)
        return list(messages(answer.text.splitlines()))[-1]

    def result(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result; a refusal is a failure of the test."""
        answer = self.ask(method, params)
        assert "result" in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def tool(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool."""
        result = self.result("tools/call", {"name": name, "arguments": arguments})
        assert not result.get("isError"), result
        found: dict[str, Any] = result["structuredContent"]
        return found

    @contextmanager
    def stream(
        self, name: str, arguments: Mapping[str, Any], token: str | None
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of a tool's call as they come; leaving it hangs up."""
        params = {"name": name, "arguments": dict(arguments)}
        body, headers = self.message("tools/call", params, token)
        with httpx.stream(
            "POST", f"{self.address}/mcp", json=body, headers=headers, timeout=60
        ) as answer:
            yield messages(answer.iter_lines())


def messages(lines: Any) -> Iterator[dict[str, Any]]:
    """The JSON-RPC messages of an answer, be it JSON or a stream of events."""
    for line in lines:
        text = line.removeprefix("data: ") if line.startswith("data: ") else line
        if text.startswith("{"):
            yield json.loads(text)
