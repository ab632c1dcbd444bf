"""One schema, the same words at every door: REST, MCP of both eras, the command line."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, nomad_job_id
from controllers import REPOSITORY
from test_controller_cli import nbs

from cluster.cluster import Cluster
from controller.cli.commands import _parser
from controller.operations import BY_NAME, OPERATIONS

Document = dict[str, Any]
COMMANDS = {
    "checkJob": "check",
    "submitJob": "submit",
    "waitForJob": "wait",
    "getStatus": "status",
    "getFailure": "failure",
    "getLogs": "logs",
    "killJob": "kill",
    "rerunPhase": "rerun",
    "getHistory": "history",
    "promoteImage": "promote",
    "cleanup": "cleanup",
}


@dataclass
class Answer:
    """What a door answered: a result, or a problem."""

    ok: bool
    document: Document


def rest(base: str) -> Callable[[str, str, Document], Answer]:
    def ask(address: str, name: str, document: Document) -> Answer:
        answer = httpx.post(f"{address}/{base}/{name}", json=document, timeout=60)
        return Answer(answer.status_code == 200, answer.json())

    return ask


def result_of(answer: httpx.Response) -> Document:
    """The result of a JSON-RPC request, whether it came as JSON or as an event."""
    assert answer.status_code == 200, answer.text
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = re.findall(r"^data: (\{.*)$", text, re.MULTILINE)[-1]
    found: Document = json.loads(text)["result"]
    return found


def mcp(version: str) -> Callable[[str, str, Document], Answer]:
    """The tool of MCP; where a tool has defaults of its own, the request must name them."""

    def ask(address: str, name: str, document: Document) -> Answer:
        params: Document = {"name": name, "arguments": document}
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
        }
        if version >= "2026":
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": name}
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "parity", "version": "1"},
            }
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = result_of(httpx.post(f"{address}/mcp", json=message, headers=headers, timeout=60))
        told = json.loads(result["content"][0]["text"])
        if not result.get("isError"):
            assert result["structuredContent"] == told
        return Answer(not result.get("isError"), told)

    return ask


def command(address: str, name: str, document: Document) -> Answer:
    """The command of the operation, with the fields as its options."""
    arguments = [COMMANDS[name], "--json"]
    document = dict(document)
    if COMMANDS[name] in ("submit", "check"):
        done = nbs(*arguments, "-", address=address, stdin=json.dumps(document))
        return Answer(done.returncode in (0, 1), json.loads(done.stdout))
    for field, value in document.items():
        if field == "job_id":
            arguments.append(value)
        elif field == "tags":
            arguments += [word for tag in value for word in ("--tag", tag)]
        elif value is True:
            arguments.append(f"--{field.replace('_', '-')}")
        elif value is not False and not (name == "waitForJob" and field == "lines"):
            arguments += [f"--{field.replace('_', '-')}", str(value)]
    arguments += ["--yes"] if name == "cleanup" and not document.get("dry_run") else []
    done = nbs(*arguments, address=address)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    return Answer("code" not in found or "name" not in found, found)


DOORS: dict[str, Callable[[str, str, Document], Answer]] = {
    "rest /mcp": rest("mcp"),
    "rest /json": rest("json"),
    "mcp 2026-07-28": mcp("2026-07-28"),
    "mcp 2025-06-18": mcp("2025-06-18"),
    "nbs": command,
}


@pytest.fixture(scope="module")
def values(cluster: Cluster, controller_address: str) -> Mapping[str, Any]:
    """What cases refer to by name: builds that have ended, and requests."""
    builds = Builds(cluster, cluster.pack.wait_healthy())
    repository = builds.dockerfile("RUN echo fatal: no && exit 9")
    failing = builds.request(repository, idempotency_key=uuid.uuid4().hex)
    good = builds.request(builds.dockerfile("RUN echo parity"))
    failed = builds.run(failing, "FAILED")
    succeeded = builds.run(good, "SUCCEEDED")
    return {
        "owner": good["owner"],
        "good": succeeded["job_id"],
        "bad": failed["job_id"],
        "again": failing,
        "request": good,
        "conflict": failing | {"git_ref": "other"},
    }


UNKNOWN = "default.image-build.1-none"
CASES: list[tuple[str, Any]] = [
    ("getStatus", {"job_id": "good"}),
    ("getStatus", {"job_id": UNKNOWN}),
    ("getStatus", {"job_id": "not an id"}),
    ("getFailure", {"job_id": "bad"}),
    ("getFailure", {"job_id": "good"}),
    ("getFailure", {"job_id": UNKNOWN}),
    ("waitForJob", {"job_id": "good", "timeout": 1, "lines": 0}),
    ("waitForJob", {"job_id": UNKNOWN, "timeout": 1, "lines": 0}),
    ("getLogs", {"job_id": "good", "max_tokens": 500}),
    ("getLogs", {"job_id": "good", "max_tokens": 200, "from_start": True}),
    ("getLogs", {"job_id": "bad", "max_tokens": 4000, "search": "(?i)FATAL", "context": 1}),
    ("getLogs", {"job_id": "bad", "max_tokens": 4000, "phase": "build", "tail": 3}),
    ("getLogs", {"job_id": "good", "max_tokens": 4000, "search": "("}),
    ("getLogs", {"job_id": "good", "max_tokens": 4000, "after": "???"}),
    ("getLogs", {"job_id": "good", "max_tokens": 1, "tail": 0}),
    ("killJob", {"job_id": "good"}),
    ("killJob", {"job_id": UNKNOWN}),
    ("rerunPhase", {"job_id": "good", "phase": "test"}),
    ("rerunPhase", {"job_id": "bad", "phase": "publish"}),
    ("rerunPhase", {"job_id": UNKNOWN, "phase": "publish"}),
    ("getHistory", {"owner": "owner", "limit": 5, "detail": "summary"}),
    ("getHistory", {"owner": "owner", "limit": 5, "detail": "full"}),
    ("getHistory", {"limit": 0, "since": "whenever", "detail": "summary"}),
    ("promoteImage", {"job_id": "bad", "tags": ["x"]}),
    ("promoteImage", {"digest": "sha256:1", "tags": ["bad tag"]}),
    ("cleanup", {"job_id": "good", "dry_run": True}),
    ("cleanup", {"job_id": UNKNOWN, "dry_run": True}),
    ("cleanup", {"older_than": "soon", "dry_run": True}),
    ("submitJob", "again"),
    ("submitJob", "conflict"),
    ("checkJob", {"owner": "", "repo_url": "file:///x", "image_tgas": []}),
]


def filled(case: Any, values: Mapping[str, Any]) -> Document:
    if isinstance(case, str):
        found: Document = values[case]
        return found
    return {
        name: values.get(value, value) if isinstance(value, str) else value
        for name, value in case.items()
    }


@pytest.mark.parametrize(
    ("name", "case"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)]
)
def test_every_door_gives_the_same_answer(
    builds: Builds, values: Mapping[str, Any], name: str, case: Any
) -> None:
    document = filled(case, values)
    answers = {door: ask(builds.address, name, document) for door, ask in DOORS.items()}
    first = answers["rest /mcp"]
    for door, answer in answers.items():
        assert (door, answer.ok) == (door, first.ok), answer.document
        for field in first.document:
            if field in ("next", "instance") and not first.ok:
                continue  # MCP adds the tool to call next
            assert (door, field, answer.document.get(field)) == (
                door,
                field,
                first.document[field],
            )


def test_invalid_builds_are_refused_alike_everywhere(builds: Builds) -> None:
    """Every field error, with the same words; nbs says it before the request travels."""
    wrong = {
        "owner": "",
        "repo_url": "https://user:secret@example.com/x",
        "image_tgas": ["a"],
        "image_tags": ["bad tag"],
        "test_commands": [""],
        "priority": 101,
    }
    answers = {door: ask(builds.address, "submitJob", wrong) for door, ask in DOORS.items()}
    problems = answers["rest /mcp"].document["problems"]
    assert {one["field"] for one in problems} == {
        "owner",
        "repo_url",
        "registry_url",
        "image_tgas",
        "image_tags[0]",
        "test.commands[0]",
        "priority",
    }
    assert {door: answer.document["problems"] for door, answer in answers.items()} == dict.fromkeys(
        DOORS, problems
    )
    assert "secret@" not in json.dumps(problems)


def test_a_payload_dispatched_by_hand_is_the_same_request(
    builds: Builds, values: Mapping[str, Any]
) -> None:
    child = builds.dispatch(values["request"])
    builds.await_end(child)
    by_hand = builds.status(child)["config"]
    submitted = builds.status(values["good"])["config"]
    assert by_hand == submitted
    assert nomad_job_id(builds.status(child)["job_id"]) == child


def test_every_operation_has_every_door(builds: Builds) -> None:
    names = [operation.name for operation in OPERATIONS]
    assert sorted(COMMANDS) == sorted(names)
    help_text = _parser().format_help()
    for name in COMMANDS.values():
        assert re.search(rf"^ +{name}\b", help_text, re.MULTILINE), name
    paths = httpx.get(f"{builds.address}/openapi.json").json()["paths"]
    page = httpx.get(f"{builds.address}/docs").text
    reference = Path(REPOSITORY, "docs", "reference.md").read_text()
    for name in names:
        for base in ("mcp", "json"):
            assert f"/{base}/{name}" in paths
            assert httpx.get(f"{builds.address}/{base}/{name}").status_code == 405
        assert f'id="{name}"' in page
        assert f"\n## {name}\n" in reference
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    listed = result_of(httpx.post(f"{builds.address}/mcp", json=message, headers=headers))
    tools = {tool["name"]: tool for tool in listed["tools"]}
    assert list(tools) == names
    for name, tool in tools.items():
        effects = BY_NAME[name].effects
        assert tool["annotations"]["readOnlyHint"] == effects.read_only
        assert tool["annotations"]["destructiveHint"] == effects.destructive
