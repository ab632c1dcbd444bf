"""A tool that cannot do what it was asked says what, why, and the call to make next."""

from __future__ import annotations

import json
from typing import Any

import pytest
from in_process import Api, message


def told(result: dict[str, Any]) -> dict[str, Any]:
    assert result["isError"] is True
    assert "structuredContent" not in result  # clients would hold it against the output schema
    [block] = result["content"]
    document: dict[str, Any] = json.loads(block["text"])
    return document


def test_every_wrong_field_at_once_each_with_its_fix(api: Api) -> None:
    error = told(api.tool("submitJob", {"ownr": "team", "repo_url": 7}))
    assert (error["name"], error["status"], error["retryable"]) == ("invalid_fields", 422, False)
    fixes = {problem["field"]: problem["fix"] for problem in error["problems"]}
    assert fixes["ownr"] == "did you mean owner?"
    assert {"owner", "repo_url", "registry_url"} <= fixes.keys()
    assert "problems" in error["next"]


def test_a_job_config_may_be_wrapped(api: Api) -> None:
    flat = told(api.tool("submitJob", {"owner": "a"}))
    assert told(api.tool("submitJob", {"job_config": {"owner": "a"}})) == flat


def test_a_dependency_that_is_down_is_named_with_when_to_come_again(api: Api) -> None:
    error = told(api.tool("getStatus", {"job_id": "default.image-build.1-a"}))
    assert (error["name"], error["retryable"]) == ("unavailable", True)
    assert error["error"].startswith("nomad: ")
    assert error["retry_after"] > 0
    assert "retry_after" in error["next"]


def test_the_same_document_as_over_rest(api: Api) -> None:
    for name, body in (
        ("submitJob", {"owner": 1}),
        ("getStatus", {"job_id": "?"}),
        ("getStatus", {"job_id": "default.image-build.1-a"}),
    ):
        error = told(api.tool(name, body))
        del error["next"]
        assert error == api.send("POST", f"/mcp/{name}", json=body).json()


def test_null_is_absent(api: Api) -> None:
    given = {"job_id": "default.image-build.1-a", "phase": None, "max_tokens": None}
    assert told(api.tool("getLogs", given))["name"] == "unavailable"


def test_the_same_error_in_the_older_era(api: Api) -> None:
    given = {"name": "getStatus", "arguments": {"job_id": "?"}}
    assert told(message(api.legacy("tools/call", given))["result"])["name"] == "malformed_request"


def test_a_bug_is_told_in_one_line_and_logged_in_full(caplog: pytest.LogCaptureFixture) -> None:
    from controller.mcp import refusal

    try:
        raise ZeroDivisionError("secret detail")
    except ZeroDivisionError as error:
        result = refusal.unexpected("getStatus", error)
    shown = result.model_dump(by_alias=True, exclude_none=True)
    assert told(shown)["name"] == "internal_error"
    assert "secret detail" not in json.dumps(shown)
    assert "Traceback" in caplog.text
    assert "secret detail" in caplog.text
