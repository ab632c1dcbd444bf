"""Messages that are wrong in every way that a generator can think of, the same ones each time."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

JOB = "default.image-build.1-a"
VALID: list[tuple[str, dict[str, Any]]] = [
    ("server/discover", {}),
    ("tools/list", {}),
    ("tools/call", {"name": "getStatus", "arguments": {"job_id": JOB}}),
    ("tools/call", {"name": "submitJob", "arguments": {"owner": "a", "repo_url": "https://x/y"}}),
    ("tools/call", {"name": "waitForJob", "arguments": {"job_id": JOB, "timeout": 1}}),
    ("tools/call", {"name": "getLogs", "arguments": {"job_id": JOB, "search": "(a+)+$"}}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "fix_failed_build", "arguments": {"job_id": JOB}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": f"build://{JOB}/log/build"}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "build://{job_id}"},
            "argument": {"name": "job_id", "value": "d"},
        },
    ),
    ("tasks/get", {"taskId": JOB}),
    ("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}),
    ("ping", {}),
    ("notifications/cancelled", {"requestId": 1}),
    ("subscriptions/listen", {"notifications": {}}),
    ("logging/setLevel", {"level": "debug"}),
]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1e300,
    "",
    "x" * 5000,
    "\u0000\u202e",
    "😀",
    "../../etc/passwd",
    "{{7*7}}",
    [],
    [[]],
    {},
    {"$ref": "#"},
    {"a": {"b": {"c": []}}},
    "default.image-build.~ff",
    "/dispatch-",
]
VERSIONS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "1", "", "٣"]
BODIES = [
    b"",
    b"null",
    b"0",
    b'"x"',
    b"{}",
    b"[]",
    b"[1,2]",
    b"{" * 3000,
    b"[" * 60000,
    b'{"jsonrpc":"2.0","id":1,"method":"ping"',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
    b'{"jsonrpc":"2.0","id":' + b"9" * 6000 + b',"method":"ping"}',
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":1,"result":{}}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":[]}',
    b"\xff\xfe\x00",
    '{"jsonrpc":"2.0","id":"\ud800","method":"ping"}'.encode("utf-8", "surrogatepass"),
]


def requests(seed: int, number: int) -> Iterator[tuple[bytes, dict[str, bytes]]]:
    """Bodies and headers, `number` of them."""
    chance = random.Random(seed)
    for _ in range(number):
        method, params = chance.choice(VALID)
        given = json.loads(json.dumps(params))
        version = chance.choice(VERSIONS[:2] if chance.random() < 0.7 else VERSIONS)
        if chance.random() < 0.9:
            given["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientCapabilities": {
                    "extensions": {"io.modelcontextprotocol/tasks": {}}
                },
            }
        message = {"jsonrpc": "2.0", "id": chance.choice([1, "a", 0]), "method": method}
        message["params"] = given
        for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
            _spoil(message, chance)
        body = json.dumps(message).encode()
        if chance.random() < 0.1:
            body = chance.choice(BODIES)
        elif chance.random() < 0.1:
            body = _bytes(body, chance)
        name = params.get("name") or params.get("uri") or params.get("taskId")
        headers = {"MCP-Protocol-Version": version, "Mcp-Method": method}
        headers |= {"Mcp-Name": str(name)} if name else {}
        if chance.random() < 0.15:
            headers[chance.choice([*headers])] = chance.choice(
                ["", "x", "=?base64?!?=", "a" * 5000]
            )
        if chance.random() < 0.1:
            headers.pop(chance.choice([*headers]))
        if chance.random() < 0.05:
            headers["Accept"] = chance.choice(["", "text/html", "application/json", "*/*"])
        if chance.random() < 0.05:
            headers["Content-Type"] = chance.choice(["", "text/plain", "application/xml"])
        yield body, {key: value.encode() for key, value in headers.items()}


def _spoil(message: dict[str, Any], chance: random.Random) -> None:
    """Put something odd into one place."""
    place: Any = message
    while True:
        key = chance.choice([*place])
        if isinstance(place[key], dict) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        if chance.random() < 0.2:
            del place[key]
        elif chance.random() < 0.2:
            place[str(chance.choice(ODD))[:50]] = copy.deepcopy(chance.choice(ODD))
        else:
            place[key] = copy.deepcopy(chance.choice(ODD))
        message.setdefault("jsonrpc", "2.0")
        return


def _bytes(body: bytes, chance: random.Random) -> bytes:
    """Cut or overwrite a piece."""
    begin = chance.randrange(len(body))
    return body[:begin] + chance.randbytes(chance.choice([0, 1, 8])) + body[begin + 3 :]


def assert_civil(status: int, text: str) -> None:
    """No bug shows: no 5xx, no stack trace, no error that nobody thought of."""
    assert status < 500, (status, text[:500])
    assert "Traceback" not in text
    assert 'File "' not in text
    assert "Internal server error" not in text
    assert "internal_error" not in text
    assert '"code":0' not in text
