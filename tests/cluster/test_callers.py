"""Callers with tokens of a real OpenID Connect issuer: the cluster's Vault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest
from builds import Builds
from controllers import serving
from cryptography.hazmat.primitives.asymmetric import rsa
from issuing import Issuer, call, give_secrets, request_of, settings_of
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cluster.cluster import Cluster


@pytest.fixture(scope="module")
def address(
    cluster: Cluster,
    controller_address: str,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    give_secrets(cluster, "team-a", "team-b")
    with serving(cluster, tmp_path_factory.mktemp("callers"), settings_of(issuer)) as one:
        yield one.address


def test_without_a_credential_the_way_in_is_told(address: str, issuer: Issuer) -> None:
    for method, path in (("POST", "/mcp/getStatus"), ("POST", "/mcp"), ("GET", "/nowhere")):
        answer = httpx.request(method, f"{address}{path}", json={})
        assert answer.status_code == 401, path
        challenge = answer.headers["www-authenticate"]
        assert 'scope="build:read build:write"' in challenge
        assert "error=" not in challenge
        where = challenge.partition('resource_metadata="')[2].partition('"')[0]
        told = httpx.get(where).json()
        assert told["resource"] == f"{address}/mcp"
        assert told["authorization_servers"] == [issuer.url]
        assert "offline_access" not in told["scopes_supported"]
    root = httpx.get(f"{address}/.well-known/oauth-protected-resource")
    assert root.json() == told


def test_what_needs_no_credential(address: str) -> None:
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert httpx.get(f"{address}{path}").status_code == 200


def test_tokens_that_are_not_valid(address: str, issuer: Issuer) -> None:
    good = issuer.token("team-a")
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    forger = rsa.generate_private_key(65537, 2048)
    head, body, signature = good.split(".")
    other = replace(issuer, audience="somebody-else")
    bad = {
        "forged": jwt.encode(claims, forger, "RS256", headers={"kid": kid}),
        "unknown key": jwt.encode(claims, forger, "RS256", headers={"kid": "other"}),
        "no key": jwt.encode(claims, forger, "RS256"),
        "unsigned": jwt.encode(claims, None, "none"),
        "shared secret": jwt.encode(claims, "s" * 64, "HS256", headers={"kid": kid}),
        "changed": f"{head}.{body[:-4]}AAAA.{signature}",
        "no token": "x",
    }
    assert other.audience != issuer.audience
    for what, token in bad.items():
        answer = call(address, "getHistory", {}, token)
        assert answer.status_code == 401, what
        assert token == "x" or token not in answer.text, what
        assert 'error="invalid_token"' in answer.headers["www-authenticate"], what


def test_a_token_of_another_audience_is_refused(
    cluster: Cluster, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_of(issuer, NBS_AUTH_AUDIENCE="https://another.example/mcp")
    with serving(cluster, tmp_path_factory.mktemp("audience"), settings) as one:
        answer = call(one.address, "getHistory", {}, issuer.token("team-a"))
    assert answer.status_code == 401
    assert "audience" in answer.json()["error"].lower()


def test_scopes_bound_what_a_caller_may_do(address: str, issuer: Issuer) -> None:
    reader = issuer.token("team-a", "build:read")
    refused = call(address, "submitJob", {}, reader)
    assert refused.status_code == 403
    assert refused.json()["name"] == "insufficient_scope"
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="build:write"' in challenge
    assert call(address, "getStatus", {"job_id": "x"}, reader).status_code == 400
    nothing = issuer.token("team-a", "")
    assert call(address, "getStatus", {"job_id": "x"}, nothing).status_code == 403


def test_owners_come_from_the_credential_and_see_their_own_only(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    mine, theirs = issuer.token("team-a"), issuer.token("team-b")
    admin = issuer.token("team-c", "build:admin")
    request = request_of(builds, "team-a", builds.dockerfile("RUN sleep 1"))
    spoofed = call(address, "submitJob", request | {"owner": "team-b"}, mine)
    assert spoofed.status_code == 422
    assert spoofed.json()["problems"][0]["field"] == "owner"
    for document in (request, {"job_config": request}):
        submitted = call(address, "submitJob", document, mine)
        assert submitted.status_code == 200, submitted.text
    job_id = submitted.json()["job_id"]
    status = call(address, "getStatus", {"job_id": job_id}, mine)
    assert status.json()["config"]["owner"] == "team-a"
    for name in ("getStatus", "getLogs", "killJob", "waitForJob", "getFailure"):
        hidden = call(address, name, {"job_id": job_id}, theirs)
        assert hidden.status_code == 404, name
        unknown = call(address, name, {"job_id": job_id[:-1] + "~00"}, theirs)
        assert hidden.json()["name"] == unknown.json()["name"], name
    assert call(address, "getStatus", {"job_id": job_id}, admin).status_code == 200
    ended = call(address, "waitForJob", {"job_id": job_id, "timeout": 45}, mine).json()
    assert ended["status"] == "SUCCEEDED"


def test_streams_take_the_same_credential(builds: Builds, address: str, issuer: Issuer) -> None:
    mine, theirs = issuer.token("team-a"), issuer.token("team-b")
    request = request_of(builds, "team-a")
    job_id = call(address, "submitJob", request, mine).json()["job_id"]
    url = f"{address}/mcp/streamLogs?job_id={job_id}"
    socket = url.replace("http", "ws", 1)
    for token, status in ((None, 401), (theirs, 404)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        assert httpx.get(url, headers=headers).status_code == status
        with pytest.raises(InvalidStatus) as refused, connect(socket, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    with connect(socket, additional_headers={"Authorization": f"Bearer {mine}"}) as connection:
        events = [json.loads(message) for message in connection]
    assert events[-1]["status"] == "SUCCEEDED"


def test_keys_may_be_rotated(address: str, issuer: Issuer) -> None:
    old = issuer.token("team-a")
    assert call(address, "getStatus", {"job_id": "x"}, old).status_code == 400
    issuer.rotate()
    new = issuer.token("team-a")
    first, second = (jwt.get_unverified_header(token)["kid"] for token in (old, new))
    assert first != second


def test_an_issuer_that_does_not_answer_is_named(
    cluster: Cluster, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_of(issuer, NBS_AUTH_ISSUER="http://127.0.0.1:9/issuer")
    with serving(cluster, tmp_path_factory.mktemp("issuer"), settings) as one:
        answer = call(one.address, "getHistory", {}, issuer.token("team-a"))
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("issuer:")


def rpc(address: str, method: str, params: Mapping[str, Any], token: str) -> httpx.Response:
    """A request of the MCP revision 2025-06-18."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(f"{address}/mcp", json=message, headers=headers, timeout=60)


def result(answer: httpx.Response) -> dict[str, Any]:
    """The result of a request, whether it came as JSON or as an event."""
    assert answer.status_code == 200, answer.text
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = next(
            line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")
        )
    found: dict[str, Any] = json.loads(text)["result"]
    return found


def test_mcp_shows_the_tools_within_scope_and_challenges_for_others(
    address: str, issuer: Issuer
) -> None:
    reader, writer = issuer.token("team-a", "build:read"), issuer.token("team-a")
    shown = {tool["name"] for tool in result(rpc(address, "tools/list", {}, reader))["tools"]}
    everything = {tool["name"] for tool in result(rpc(address, "tools/list", {}, writer))["tools"]}
    assert {"getStatus", "getLogs"} <= shown
    assert {"submitJob", "killJob"} <= everything - shown
    refused = rpc(address, "tools/call", {"name": "submitJob", "arguments": {}}, reader)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert 'scope="build:write"' in refused.headers["www-authenticate"]


def test_mcp_hides_the_builds_of_others(builds: Builds, address: str, issuer: Issuer) -> None:
    mine, theirs = issuer.token("team-a"), issuer.token("team-b")
    request = request_of(builds, "team-a")
    job_id = call(address, "submitJob", request, mine).json()["job_id"]
    asked = {"name": "getStatus", "arguments": {"job_id": job_id}}
    assert not result(rpc(address, "tools/call", asked, mine)).get("isError")
    hidden = result(rpc(address, "tools/call", asked, theirs))
    assert hidden["isError"]
    assert "unknown_job" in hidden["content"][0]["text"]
    uri = {"uri": f"build://{job_id}/log"}
    assert result(rpc(address, "resources/read", uri, mine))["contents"]
    assert "error" in rpc(address, "resources/read", uri, theirs).text


def test_lists_cleanups_and_promotions_stay_with_the_owner(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    mine, theirs = issuer.token("team-a"), issuer.token("team-b")
    ids = {}
    for team, token in (("team-a", mine), ("team-b", theirs)):
        request = request_of(builds, team)
        ids[token] = call(address, "submitJob", request, token).json()["job_id"]
    for token, job_id in ids.items():
        ended = call(address, "waitForJob", {"job_id": job_id, "timeout": 45}, token).json()
        assert ended["status"] == "SUCCEEDED"
        listed = call(address, "getHistory", {}, token).json()["jobs"]
        found = {job["job_id"] for job in listed}
        assert job_id in found
        assert not found & (set(ids.values()) - {job_id})
    other = call(address, "getHistory", {"owner": "team-a"}, theirs)
    assert other.json()["problems"][0]["field"] == "owner"

    promoted = call(address, "promoteImage", {"job_id": ids[mine], "tags": ["p"]}, mine).json()
    assert promoted["status"] == "SUCCEEDED", promoted
    asked = {"promotion_id": promoted["promotion_id"]}
    assert call(address, "promoteImage", asked, mine).json() == promoted
    assert call(address, "promoteImage", asked, theirs).status_code == 404
    stolen = {"job_id": ids[mine], "tags": ["q"]}
    assert call(address, "promoteImage", stolen, theirs).status_code == 404

    refused = call(address, "cleanup", {"job_id": ids[mine]}, theirs)
    assert refused.status_code == 404
    would = call(address, "cleanup", {"all": True, "dry_run": True}, theirs).json()
    assert ids[theirs] in would["cleaned_jobs"]
    assert ids[mine] not in would["cleaned_jobs"]
    done = call(address, "cleanup", {"job_id": ids[theirs]}, theirs).json()
    assert ids[theirs] in done["cleaned_jobs"]
    assert call(address, "getStatus", {"job_id": ids[mine]}, mine).status_code == 200
