"""Tickets: how a browser opens a log stream, with two controllers and one Consul."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually
from controllers import Serving, serving
from issuing import Issuer, call, give_secrets, request_of, settings_of
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cluster.cluster import Cluster
from controller.access.tickets import PREFIX


@pytest.fixture(scope="module")
def replicas(
    cluster: Cluster,
    controller_address: str,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Serving, Serving]]:
    """Two controllers that say everything they can in their logs."""
    give_secrets(cluster, "team-a")
    settings = settings_of(
        issuer, NBS_LOG_LEVEL="debug", NBS_AUDIT="all", NBS_RETENTION_INTERVAL="0.5"
    )
    directory = tmp_path_factory.mktemp("tickets")
    with serving(cluster, directory, settings) as one, serving(cluster, directory, settings) as two:
        yield one, two


@pytest.fixture(scope="module")
def job_id(cluster: Cluster, replicas: tuple[Serving, Serving], issuer: Issuer) -> str:
    """A build of team-a that has ended."""
    builds, token = Builds(cluster, replicas[0].address), issuer.token("team-a")
    request = request_of(builds, "team-a", builds.dockerfile("RUN echo hello from a step"))
    submitted = call(builds.address, "submitJob", request, token).json()["job_id"]
    waited = call(builds.address, "waitForJob", {"job_id": submitted, "timeout": 45}, token)
    assert waited.json()["status"] == "SUCCEEDED"
    return str(submitted)


def ticket_of(one: Serving, job_id: str, token: str) -> dict[str, Any]:
    answer = call(one.address, "streamTicket", {"job_id": job_id}, token)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    ticket: dict[str, Any] = answer.json()
    return ticket


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]


def stored(cluster: Cluster) -> dict[str, Any]:
    """What Consul has of tickets, by key."""
    url = f"{cluster.consul.address}/v1/kv/{PREFIX}"
    answer = httpx.get(url, params={"recurse": "1"}, headers=cluster.consul.headers)
    return {one["Key"]: one for one in answer.json()} if answer.status_code == 200 else {}


def test_a_ticket_of_one_replica_opens_one_stream_of_another(
    cluster: Cluster, replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer
) -> None:
    one, two = replicas
    token = issuer.token("team-a")
    given = ticket_of(one, job_id, token)
    assert given["expires_in"] == 60
    assert len(given["ticket"]) == 43  # 256 bits
    key = PREFIX + hashlib.sha256(given["ticket"].encode()).hexdigest()
    assert key in stored(cluster)
    assert given["ticket"] not in json.dumps(stored(cluster))
    told = events(httpx.get(f"{two.address}{given['url']}"))
    assert told[-1]["event"] == "end"
    assert any("hello from a step" in event.get("message", "") for event in told)
    assert key not in stored(cluster)
    for replica in replicas:
        again = httpx.get(f"{replica.address}{given['url']}")
        assert (again.status_code, again.json()["name"]) == (401, "invalid_ticket")
        assert "streamTicket" in again.json()["details"]
        assert given["ticket"] not in again.text


def test_a_websocket_and_a_place_to_go_on_from(
    replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer
) -> None:
    one, two = replicas
    token = issuer.token("team-a")
    url = f"{two.address}{ticket_of(one, job_id, token)['url']}"
    with connect(url.replace("http", "ws", 1)) as connection:
        told = [json.loads(message) for message in connection]
    assert told[-1]["status"] == "SUCCEEDED"
    with pytest.raises(InvalidStatus) as refused, connect(url.replace("http", "ws", 1)):
        pass
    assert refused.value.response.status_code == 401
    first = httpx.get(f"{one.address}{ticket_of(one, job_id, token)['url']}").text
    ids = [line.removeprefix("id: ") for line in first.splitlines() if line.startswith("id: ")]
    lines = [event for event in told if event["event"] == "log"]
    url = f"{one.address}{ticket_of(two, job_id, token)['url']}&after={ids[len(ids) // 2]}"
    rest = [event for event in events(httpx.get(url)) if event["event"] == "log"]
    assert 0 < len(rest) < len(lines)
    assert rest == lines[-len(rest) :]


def test_of_many_at_once_one_gets_the_stream(
    replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer
) -> None:
    token = issuer.token("team-a")
    for _ in range(5):
        url = ticket_of(replicas[0], job_id, token)["url"]

        def use(number: int, url: str = url) -> int:
            return httpx.get(f"{replicas[number % 2].address}{url}", timeout=30).status_code

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(use, range(8))) == [200] + [401] * 7


def test_a_ticket_is_for_its_build_and_for_its_stream_only(
    replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer, builds: Builds
) -> None:
    one, _ = replicas
    token = issuer.token("team-a")
    other = call(one.address, "submitJob", request_of(builds, "team-a"), token).json()["job_id"]
    for wrong in (other, "x", "", f"{job_id}x"):
        ticket = ticket_of(one, job_id, token)["ticket"]
        for asked in (wrong, job_id):  # the attempt has used it up
            query = {"job_id": asked, "ticket": ticket}
            answer = httpx.get(f"{one.address}/mcp/streamLogs", params=query)
            assert (answer.status_code, answer.json()["name"]) == (401, "invalid_ticket"), asked
    ticket = ticket_of(one, job_id, token)["ticket"]
    for path in ("getStatus", "getLogs", "streamTicket"):
        document = {"job_id": job_id}
        answer = httpx.post(f"{one.address}/mcp/{path}", params={"ticket": ticket}, json=document)
        assert answer.status_code == 401, path
        assert call(one.address, path, document, ticket).status_code == 401, path
    for query in ({"ticket": "x"}, {"ticket": ""}, {"ticket": "../config/port"}):
        answer = httpx.get(f"{one.address}/mcp/streamLogs", params={"job_id": job_id, **query})
        assert answer.json()["name"] == "invalid_ticket", query


def test_who_gets_a_ticket(replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer) -> None:
    one, two = replicas
    asked = {"job_id": job_id}
    assert call(one.address, "streamTicket", asked).status_code == 401
    assert call(one.address, "streamTicket", asked, issuer.token("team-b")).status_code == 404
    assert call(one.address, "streamTicket", asked, issuer.token("team-a", "")).status_code == 403
    assert call(one.address, "streamTicket", {}, issuer.token("team-a")).status_code == 422
    admin = issuer.token("root", "build:admin")
    reader = issuer.token("team-a", "build:read")
    for token in (admin, reader):
        url = ticket_of(one, job_id, token)["url"]
        assert events(httpx.get(f"{two.address}{url}"))[-1]["event"] == "end"
    url = httpx.post(
        f"{one.address}/json/streamTicket",
        json=asked,
        headers={"Authorization": f"Bearer {reader}"},
    ).json()["url"]
    assert url.startswith("/json/streamLogs?")
    assert events(httpx.get(f"{two.address}{url}"))[-1]["event"] == "end"


def test_an_old_ticket_opens_nothing_and_is_removed(
    cluster: Cluster, replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.token("team-a")
    given = ticket_of(replicas[0], job_id, token)
    key = PREFIX + hashlib.sha256(given["ticket"].encode()).hexdigest()

    def age(key: str) -> None:
        url = f"{cluster.consul.address}/v1/kv/{key}"
        value = httpx.get(url, params={"raw": "1"}, headers=cluster.consul.headers).json()
        assert 50 < value["expires_at"] - time.time() <= 60
        old = value | {"expires_at": time.time() - 1}
        httpx.put(url, json=old, headers=cluster.consul.headers).raise_for_status()

    age(key)
    eventually("the retention has removed it", lambda: key not in stored(cluster), seconds=20)
    settings = settings_of(issuer, NBS_RETENTION_INTERVAL="3600")
    with serving(cluster, tmp_path, settings) as one:
        given = ticket_of(one, job_id, token)
        age(PREFIX + hashlib.sha256(given["ticket"].encode()).hexdigest())
        answer = httpx.get(f"{one.address}{given['url']}")
    assert (answer.status_code, answer.json()["name"]) == (401, "invalid_ticket")


def test_without_credentials_tickets_work_too(builds: Builds) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile()))
    given = builds.http.post("/mcp/streamTicket", json={"job_id": job_id}).json()
    told = events(httpx.get(f"{builds.address}{given['url']}", timeout=60))
    assert told[-1]["event"] == "end"
    assert httpx.get(f"{builds.address}{given['url']}").status_code == 401


@pytest.mark.slow
def test_no_ticket_and_no_credential_gets_into_the_log(
    replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer
) -> None:
    token, tickets = issuer.token("team-a"), []
    for one, two in (replicas, replicas[::-1]):
        for scheme in ("http", "ws"):
            given = ticket_of(one, job_id, token)
            tickets.append(given["ticket"])
            url = f"{two.address}{given['url']}"
            for _ in range(2):
                if scheme == "http":
                    httpx.get(url)
                    continue
                try:
                    with connect(url.replace("http", "ws", 1)) as connection:
                        list(connection)
                except InvalidStatus:
                    pass
        httpx.get(f"{one.address}/mcp/streamTicket?ticket={tickets[-1]}")
        httpx.get(f"{one.address}/nowhere?ticket={tickets[-1]}")
        headers = {"Authorization": f"Bearer {token}"}
        with connect(
            f"{one.address}/mcp/streamLogs?job_id={job_id}".replace("http", "ws", 1),
            additional_headers=headers,
        ) as connection:
            list(connection)
    for one in replicas:
        assert '"operation": "streamLogs"' in one.log
        assert token not in one.log
        assert token.rpartition(".")[2] not in one.log
        assert "Bearer" not in one.log
        assert not [ticket for ticket in tickets if ticket in one.log]


@pytest.mark.slow
def test_nobody_fills_consul_with_tickets(
    replicas: tuple[Serving, Serving], job_id: str, issuer: Issuer
) -> None:
    token, other = issuer.token("team-a"), issuer.token("team-a")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=replicas[0].address, headers=headers, timeout=30) as client:
        for _ in range(1201):  # the minute may change once meanwhile
            answer = client.post("/mcp/streamTicket", json={"job_id": job_id})
            if answer.status_code != 200:
                break
    assert (answer.status_code, answer.json()["name"]) == (429, "too_many_tickets")
    assert answer.headers["retry-after"] == "60"
    ticket_of(replicas[0], job_id, other)


def test_a_ticket_of_another_version_opens_nothing_and_stops_nobody(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    key = f"{cluster.consul.address}/v1/kv/nomad-build-service/tickets/{'0' * 64}"
    httpx.put(key, content=b'{"schema": 9}', headers=cluster.consul.headers).raise_for_status()
    with serving(cluster, tmp_path) as one:  # its first pass of the retention meets it
        eventually(
            "it is removed",
            lambda: httpx.get(key, headers=cluster.consul.headers).status_code == 404,
        )
        assert httpx.get(f"{one.address}/ready").status_code == 200
