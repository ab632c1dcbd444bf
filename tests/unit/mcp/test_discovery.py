"""What a client learns at its first request, however it opens."""

from __future__ import annotations

import pytest
from in_process import MODERN, Api, message

from controller import __version__

SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def test_discover_first_as_clients_of_the_present_revision(api: Api) -> None:
    result = api.modern("server/discover").json()["result"]
    assert MODERN in result["supportedVersions"]
    assert result["_meta"][SERVER_INFO]["name"] == "nomad-build-service"
    assert result["_meta"][SERVER_INFO]["version"] == __version__
    assert set(result["capabilities"]) == {
        "completions",
        "extensions",
        "prompts",
        "resources",
        "tools",
    }
    assert "io.modelcontextprotocol/tasks" in result["capabilities"]["extensions"]


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
def test_initialize_first_as_the_older_ones(api: Api, version: str) -> None:
    params = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "codex", "version": "0.165"},
    }
    answer = api.legacy("initialize", params)
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers
    result = message(answer)["result"]
    assert result["protocolVersion"] == version
    assert result["serverInfo"]["name"] == "nomad-build-service"
    assert result["instructions"]


def test_a_client_may_try_the_new_way_and_then_the_old_one(api: Api) -> None:
    assert api.modern("server/discover").status_code == 200
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x"}}
    params["clientInfo"] = {"name": "x", "version": "1"}
    assert "result" in message(api.legacy("initialize", params))
    told = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    assert api.post(told, **{"MCP-Protocol-Version": "2025-06-18"}).status_code == 202
    assert "result" in message(api.legacy("tools/list"))


def test_a_client_that_says_no_version_at_all_is_served(api: Api) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/list"}'
    answer = message(api.post(body))
    assert answer["id"] == 7
    assert answer["result"]["tools"]


def test_nothing_is_promised_that_would_hold_a_stream_open(api: Api) -> None:
    new = api.modern("server/discover").json()["result"]["capabilities"]
    params = {"protocolVersion": "2025-11-25", "capabilities": {}}
    params |= {"clientInfo": {"name": "x", "version": "1"}}
    old = message(api.legacy("initialize", params))["result"]["capabilities"]
    for capabilities in (new, old):
        for kind in ("tools", "prompts", "resources"):
            assert not capabilities[kind].get("listChanged")
        assert not capabilities["resources"].get("subscribe")
    assert api.modern("subscriptions/listen", {"notifications": {}}).status_code == 404


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ("server/discover", "public"),
        ("prompts/list", "public"),
        ("resources/templates/list", "public"),
        ("tools/list", "private"),  # those that the caller may use
    ],
)
def test_what_changes_only_with_the_version_may_be_kept(api: Api, method: str, scope: str) -> None:
    result = api.modern(method).json()["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (300_000, scope)
    assert result["resultType"] == "complete"


def test_prompts_and_their_arguments_are_described(api: Api) -> None:
    prompts = api.modern("prompts/list").json()["result"]["prompts"]
    assert [prompt["name"] for prompt in prompts] == ["fix_failed_build", "containerize_repository"]
    for prompt in prompts:
        assert prompt["description"]
        assert all(argument["description"] for argument in prompt["arguments"])


def test_containerize_repository_is_a_plan_for_that_repository(api: Api) -> None:
    given = {"repo_url": "https://git.example.com/a.git", "registry_url": "registry.example.com/a"}
    answer = api.modern("prompts/get", {"name": "containerize_repository", "arguments": given})
    text = answer.json()["result"]["messages"][0]["content"]["text"]
    assert all(value in text for value in given.values())
    assert text.index("checkJob") < text.index("submitJob") < text.index("getFailure")


def test_phases_are_completed(api: Api) -> None:
    params = {
        "ref": {"type": "ref/resource", "uri": "build://{job_id}/log/{phase}"},
        "argument": {"name": "phase", "value": "p"},
    }
    result = api.modern("completion/complete", params).json()["result"]
    assert result["completion"] == {"values": ["publish"], "total": 1, "hasMore": False}
