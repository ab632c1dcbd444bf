"""Every refusal has its code, in both eras, and says what to do; none shows a stack trace."""

from __future__ import annotations

import json

import pytest
from in_process import MODERN, TASKS, Api, message

DECLARED = {"extensions": {TASKS: {}}}


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("method", "params", "names"),
    [
        ("tools/call", {"name": "buildJob", "arguments": {}}, "submitJob"),
        ("prompts/get", {"name": "fix"}, "fix_failed_build"),
        ("prompts/get", {"name": "fix_failed_build"}, "job_id"),
        ("prompts/get", {"name": "fix_failed_build", "arguments": {"job_id": "?"}}, "job_id"),
        ("resources/read", {"uri": "build://a.b.c/logs"}, "build://{job_id}/log"),
        ("resources/read", {"uri": "build://a.b.c/log/deploy"}, "phase"),
        ("resources/read", {"uri": "file:///etc/passwd"}, "build://{job_id}"),
        ("resources/read", {"uri": "build://a/outcome"}, "job_id"),
        ("tools/list", {"cursor": "MTA="}, "without a cursor"),
        ("prompts/list", {"cursor": "MTA="}, "without a cursor"),
        ("resources/list", {"cursor": "MTA="}, "without a cursor"),
        ("resources/templates/list", {"cursor": "MTA="}, "without a cursor"),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": ""}},
            "prompts/list",
        ),
        (
            "completion/complete",
            {"ref": {"type": "ref/resource", "uri": "x"}, "argument": {"name": "a", "value": ""}},
            "templates/list",
        ),
    ],
)
def test_what_does_not_exist_is_invalid_params(
    api: Api, era: str, method: str, params: dict[str, object], names: str
) -> None:
    answer = getattr(api, era)(method, params)
    error = message(answer)["error"]
    assert error["code"] == -32602
    assert names in json.dumps(error)
    assert error["data"]["next"]
    assert answer.status_code == (400 if era == "modern" else 200)


def test_an_unknown_method_is_not_found(api: Api) -> None:
    answer = api.modern("builds/list")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)
    assert message(api.legacy("builds/list"))["error"]["code"] == -32601


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
@pytest.mark.parametrize("version", [MODERN, "2025-06-18", ""])
def test_only_post_is_served_and_no_stream_is_held_open(
    api: Api, method: str, version: str
) -> None:
    headers = {"Accept": "text/event-stream", "MCP-Protocol-Version": version}
    answer = api.send(method, "/mcp", headers={k: v for k, v in headers.items() if v})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("version", [MODERN, "2025-06-18"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (b"[]", 400, -32600),
        (b' [{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32600),
        (b"x" * (2 << 20), 413, -32600),
    ],
)
def test_bodies_that_are_no_message(
    api: Api, version: str, body: bytes, status: int, code: int
) -> None:
    answer = api.post(body, **{"MCP-Protocol-Version": version})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("version", [MODERN, "2025-06-18"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", ""])
def test_who_cannot_take_both_kinds_of_answer_is_told(api: Api, version: str, accept: str) -> None:
    headers = {"Accept": accept, "MCP-Protocol-Version": version}
    answer = api.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', **headers)
    assert answer.status_code == 406
    assert "text/event-stream" in answer.json()["error"]["message"]


def test_another_revision_is_refused_with_those_that_are_served(api: Api) -> None:
    params = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2031-01-01"}}
    headers = {"MCP-Protocol-Version": "2031-01-01"}
    answer = api.modern("tools/list", params, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)
    assert MODERN in answer.json()["error"]["data"]["supported"]


@pytest.mark.parametrize("headers", [{"Mcp-Method": "tools/call"}, {"Mcp-Name": "killJob"}])
def test_headers_that_contradict_the_body_are_refused(api: Api, headers: dict[str, str]) -> None:
    params = {"name": "getStatus", "arguments": {"job_id": "a.b.c"}}
    method = "tools/list" if "Mcp-Method" in headers else "tools/call"
    answer = api.modern(method, params if method == "tools/call" else {}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


def test_foreign_hosts_and_pages_are_refused(api: Api) -> None:
    assert api.modern("tools/list", headers={"Host": "rebound.example.com"}).status_code == 421
    assert api.modern("tools/list", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
def test_tasks_are_for_clients_that_declare_them(api: Api, method: str) -> None:
    params = {"taskId": "default.image-build.1-a"}
    refused = api.modern(method, params)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32021)
    assert TASKS in refused.json()["error"]["data"]["requiredCapabilities"]["extensions"]
    assert message(api.legacy(method, params))["error"]["code"] == -32601
    for headers in ({"Mcp-Name": "another"}, {"Mcp-Name": ""}):
        wrong = api.modern(method, params, capabilities=DECLARED, headers=headers)
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
    malformed = api.modern(method, {"taskId": "nonsense"}, capabilities=DECLARED)
    assert (malformed.status_code, malformed.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result"])
def test_methods_that_the_extension_has_not(api: Api, method: str) -> None:
    answer = api.modern(method, {"taskId": "a"}, capabilities=DECLARED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)


def test_without_an_auth_mode_there_is_no_resource_metadata(api: Api) -> None:
    for path in ("", "/mcp"):
        answer = api.send("GET", f"/.well-known/oauth-protected-resource{path}")
        assert answer.status_code == 404
        assert answer.json()["name"] == "not_found"
