"""The audit: a line for each decision and change, the same through every door, and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually
from controllers import Serving, serving
from issuing import Issuer, call, give_secrets, request_of, settings_of
from test_hostile_strings import HOSTILE

from cluster.cluster import Cluster
from cluster.unplaceable import unplaceable

Line = dict[str, Any]
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


@pytest.fixture(scope="module")
def one(
    cluster: Cluster,
    controller_address: str,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Serving]:
    give_secrets(cluster, "team-a")
    with serving(cluster, tmp_path_factory.mktemp("audit"), settings_of(issuer)) as served:
        yield served


def lines(one: Serving) -> list[Line]:
    """Every line of the audit; nothing else begins as they do."""
    return [json.loads(line) for line in one.log.splitlines() if line.startswith("{")]


def since(one: Serving, before: int) -> list[tuple[Any, ...]]:
    """What was told after the first `before` lines; whose ends it records is chance."""
    return [
        (line["operation"], line.get("owner"), line.get("job_id"), line["outcome"])
        for line in lines(one)[before:]
        if line["operation"] != "recordEnd"
    ]


def tool(one: Serving, name: str, arguments: Mapping[str, Any], token: str) -> httpx.Response:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    headers = HEADERS | {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{one.address}/mcp", json=message, headers=headers, timeout=60)


def test_lines_say_what_was_done(builds: Builds, one: Serving, issuer: Issuer) -> None:
    token, stranger = issuer.token("team-a"), issuer.token("team-b")
    before = len(lines(one))
    key = {"idempotency_key": uuid.uuid4().hex}
    request = request_of(builds, "team-a") | key
    job_id = call(one.address, "submitJob", request, token).json()["job_id"]
    call(one.address, "submitJob", request, token)
    call(one.address, "waitForJob", {"job_id": job_id, "timeout": 45}, token)
    call(one.address, "getStatus", {"job_id": job_id}, stranger)
    call(one.address, "submitJob", request | {"owner": "team-b"}, token)
    call(one.address, "killJob", {"job_id": job_id}, token)
    url = call(one.address, "streamTicket", {"job_id": job_id}, token).json()["url"]
    httpx.get(f"{one.address}{url}")
    httpx.get(f"{one.address}{url}")
    call(one.address, "cleanup", {"job_id": job_id, "dry_run": True}, token)
    call(one.address, "cleanup", {"job_id": job_id}, token)
    assert since(one, before) == [
        ("submitJob", "team-a", job_id, "allowed"),
        ("submitJob", "team-a", job_id, "allowed"),
        ("getStatus", "team-b", job_id, "unknown_job"),
        ("submitJob", "team-a", None, "invalid_fields"),
        ("killJob", "team-a", job_id, "allowed"),
        ("streamTicket", "team-a", job_id, "allowed"),
        ("streamLogs", "team-a", job_id, "allowed"),
        ("GET /mcp/streamLogs", None, None, "invalid_ticket"),
        ("removeBuild", None, job_id, "done"),
        ("cleanup", "team-a", job_id, "allowed"),
    ]
    told = [line for line in lines(one)[before:] if line["operation"] != "recordEnd"]
    assert [line.get("created") for line in told[:2]] == [True, False]
    assert told[3]["asked_owner"] == "team-b"
    assert told[4]["stopped"] is False
    assert (told[7]["status"], told[7]["peer"]) == (401, "127.0.0.1")
    assert told[8]["caller"] == told[9]["caller"] == told[0]["caller"]
    assert told[0]["caller"] != told[2]["caller"]


def test_every_door_is_told_of_alike(builds: Builds, one: Serving, issuer: Issuer) -> None:
    token, reader = issuer.token("team-a"), issuer.token("team-a", "build:read")
    job_id = call(one.address, "submitJob", request_of(builds, "team-a"), token).json()["job_id"]
    asked = {"job_id": job_id}
    told = []
    for door in (lambda *what: call(one.address, *what), lambda *what: tool(one, *what)):
        before = len(lines(one))
        door("killJob", asked, token)
        door("killJob", asked, reader)
        door("killJob", {"job_id": "nothing.like.it"}, token)
        door("getStatus", asked, issuer.token("team-b"))
        door("submitJob", {"repo_url": "ftp://x"}, token)
        door("getStatus", asked, token)
        told.append(since(one, before))
    assert told[0] == told[1]
    assert [outcome for *_, outcome in told[0]] == [
        "allowed",
        "insufficient_scope",
        "unknown_job",
        "unknown_job",
        "invalid_fields",
    ]


def test_who_is_not_known_is_told_of_without_the_credential(one: Serving, issuer: Issuer) -> None:
    before = len(lines(one))
    token = issuer.token("team-a")
    broken = f"{token[:-6]}AAAAAA"
    call(one.address, "killJob", {"job_id": "x"})
    call(one.address, "killJob", {"job_id": "x"}, broken)
    httpx.get(f"{one.address}/mcp/getHistory", headers={"Host": "evil.example"})
    httpx.post(f"{one.address}/mcp/getHistory", headers={"Origin": "https://evil.example"})
    httpx.post(
        f"{one.address}/mcp/getHistory",
        content=b"{" * 99,
        headers={"Authorization": f"Bearer {token}"},
    )
    told = [line for line in lines(one)[before:] if line["operation"] != "recordEnd"]
    assert [(line["operation"], line["outcome"], line.get("peer")) for line in told] == [
        ("POST /mcp/killJob", "unauthenticated", "127.0.0.1"),
        ("POST /mcp/killJob", "unauthenticated", "127.0.0.1"),
        ("GET /mcp/getHistory", "misdirected_request", "127.0.0.1"),
        ("POST /mcp/getHistory", "foreign_origin", "127.0.0.1"),
        ("getHistory", "malformed_request", None),
    ]
    assert "signature" in told[1]["why"].lower()
    assert broken not in one.log
    assert token not in one.log


def test_hostile_strings_stay_within_their_lines(
    builds: Builds, one: Serving, issuer: Issuer
) -> None:
    token = issuer.token("team-a")
    forged = 'x"}\n{"time": "now", "operation": "killJob", "outcome": "forged"}'
    values = [*HOSTILE, forged, "\r\nforged", "\u2028forged", "\x1b[2J", "é" * 10_000, "\ud800"]
    before, sent = len(lines(one)), 0
    request = request_of(builds, "team-a")
    for value in values:
        for name, document in (
            ("submitJob", request | {"owner": value}),
            ("submitJob", request | {"git_credentials_path": value}),
            ("submitJob", request | {value: value}),
            ("killJob", {"job_id": value}),
            ("getHistory", {"owner": value}),
            ("streamTicket", {"job_id": value}),
        ):
            body = json.dumps(document)
            answer = httpx.post(
                f"{one.address}/mcp/{name}",
                content=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
            )
            assert 400 <= answer.status_code < 500, (name, value, answer.text)
            sent += 1
        httpx.post(f"{one.address}/{value.encode('utf-8', 'replace').hex()}%0a%7b", json={})
        sent += 1
    told = [line for line in lines(one)[before:] if line["operation"] != "recordEnd"]
    assert len(told) == sent
    for line in told:
        assert line["outcome"] not in ("allowed", "forged")
        assert all(len(str(value)) <= 200 for value in line.values())
    assert all(line.isascii() and len(line) < 4000 for line in one.log.splitlines())
    assert token not in one.log


def test_reads_are_told_of_where_the_operator_wants_it(
    cluster: Cluster, builds: Builds, issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.token("team-a")
    with serving(cluster, tmp_path, settings_of(issuer, NBS_AUDIT="all")) as one:
        job_id = call(one.address, "submitJob", request_of(builds, "team-a"), token).json()[
            "job_id"
        ]
        call(one.address, "getStatus", {"job_id": job_id}, token)
        headers = {"Authorization": f"Bearer {token}"}
        httpx.get(
            f"{one.address}/mcp/streamLogs", params={"job_id": job_id}, headers=headers, timeout=60
        )
        call(one.address, "getHistory", {}, token)
        told = since(one, 0)
    assert told == [
        ("submitJob", "team-a", job_id, "allowed"),
        ("getStatus", "team-a", job_id, "allowed"),
        ("streamLogs", "team-a", job_id, "allowed"),
        ("getHistory", "team-a", None, "allowed"),
    ]


def test_what_nobody_asked_for_is_told_of_without_a_caller(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    """Under a prefix of its own: no other controller deals with these builds."""
    settings = {
        "NBS_NAME_PREFIX": "audit-",
        "NBS_HISTORY_RETENTION": "1s",
        "NBS_RETENTION_INTERVAL": "0.5",
    }
    with unplaceable(cluster, "audit-"), serving(cluster, tmp_path, settings) as one:
        request = builds.request(builds.dockerfile(), owner="controller")
        job_id = one.post("submitJob", request).json()["job_id"]
        one.post("killJob", {"job_id": job_id})
        eventually("the retention has removed it", lambda: "removeBuild" in one.log, seconds=30)
        told = [line for line in lines(one) if "caller" not in line]
    facts = {"owner": "controller", "job_id": job_id, "outcome": "done"}
    assert told[0] == told[0] | facts | {"operation": "recordEnd", "ended": "CANCELLED"}
    removed = {"operation": "removeBuild", "cause": "retention", "job_id": job_id}
    assert [line | removed for line in told[1:]] == told[1:]
    assert len(told) == 2
