"""The list of tools: what every client's model reads before it does anything."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from in_process import Api, message

from controller.mcp.instructions import INSTRUCTIONS
from controller.operations import OPERATIONS
from controller.operations.operation import Operation

# Measured with the vocabularies o200k and cl100k: 4.2 characters of this list are a token. Other
# vocabularies need more tokens, so fewer characters are counted for one here.
CHARACTERS_PER_TOKEN = 3.2
MOST_TOKENS = 8000


@pytest.fixture(scope="module")
def tools(api: Api) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = api.modern("tools/list").json()["result"]["tools"]
    return listed


def test_every_operation_is_a_tool_in_the_same_order(tools: list[dict[str, Any]]) -> None:
    assert [tool["name"] for tool in tools] == [operation.name for operation in OPERATIONS]
    assert len(tools) <= 20


def test_the_list_is_short(tools: list[dict[str, Any]]) -> None:
    text = json.dumps(tools, ensure_ascii=False, separators=(",", ":"))
    assert len(text) / CHARACTERS_PER_TOKEN < MOST_TOKENS


def test_the_list_is_the_same_bytes_each_time_and_the_same_in_each_era(api: Api) -> None:
    assert api.modern("tools/list").content == api.modern("tools/list").content
    old, new = message(api.legacy("tools/list")), api.modern("tools/list").json()
    assert old["result"]["tools"] == new["result"]["tools"]


def test_each_tool_is_described_whole(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        assert len(tool["name"]) <= 40
        assert tool["title"]
        assert 40 < len(tool["description"]) < 700
        assert set(tool["annotations"]) == {
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        }
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
        for name, field in tool["inputSchema"].get("properties", {}).items():
            assert field["description"], f"{tool['name']}.{name}"


def test_the_fields_of_a_build_stand_there_once(tools: list[dict[str, Any]]) -> None:
    assert [tool["name"] for tool in tools if "git_ref" in tool["inputSchema"]["properties"]] == [
        "submitJob"
    ]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_the_short_schema_takes_what_the_whole_one_takes(
    tools: list[dict[str, Any]], operation: Operation
) -> None:
    [tool] = [one for one in tools if one["name"] == operation.name]
    if operation.takes_job_config and operation.name != "submitJob":
        assert tool["inputSchema"]["required"] == ["job_config"]
        return
    shown, whole = tool["inputSchema"], operation.input_schema
    assert shown["properties"].keys() == whole["properties"].keys()
    assert shown.get("required", []) == whole.get("required", [])
    for name, field in shown["properties"].items():
        kinds = [one["type"] for one in field["anyOf"]] if "anyOf" in field else field["type"]
        assert kinds == whole["properties"][name]["type"]
        assert field.get("enum") == whole["properties"][name].get("enum")


def test_defaults_of_tools_are_shown(tools: list[dict[str, Any]]) -> None:
    for tool, operation in zip(tools, OPERATIONS, strict=True):
        for name, value in operation.tool_defaults.items():
            assert tool["inputSchema"]["properties"][name]["default"] == value


def test_instructions_come_first_and_are_short(api: Api) -> None:
    assert len(INSTRUCTIONS) < 2000
    assert INSTRUCTIONS.index("job_id") < 300
    assert api.modern("server/discover").json()["result"]["instructions"] == INSTRUCTIONS


def test_tools_that_texts_name_are_there(tools: list[dict[str, Any]]) -> None:
    names = {tool["name"] for tool in tools}
    texts = [INSTRUCTIONS, *(tool["description"] for tool in tools)]
    told = {word for text in texts for word in re.findall(r"\b[a-z]+(?:Job|Status|Logs)\b", text)}
    assert "checkJob" in told
    assert told <= names
