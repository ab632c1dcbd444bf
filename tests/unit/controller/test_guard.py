"""Which hosts and which web pages are let through."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from controller.observability.audit import Audit
from controller.routes.guard import Guard
from controller.settings import load

SETTINGS = {
    "NBS_ALLOWED_HOSTS": "builds.example.com, *.internal.example",
    "NBS_ALLOWED_ORIGINS": "https://ui.example.com/",
}


@pytest.fixture
def client() -> TestClient:
    async def answer(request: object) -> PlainTextResponse:
        return PlainTextResponse("let through")

    guard = Middleware(Guard, settings=load(SETTINGS, {}), audit=Audit("changes"))
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])], middleware=[guard])
    return TestClient(app)


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8080",
        "127.0.0.1:8080",
        "10.3.2.1",
        "[::1]:8080",
        "[fd00::1]:80",
        "nomad-build-service.service.consul:28101",
        "builds.example.com",
        "BUILDS.example.com:443",
        "a.internal.example",
    ],
)
def test_hosts_of_ours_are_let_through(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "consul",
        "[::1",
        "a b",
    ],
)
def test_other_hosts_are_refused_with_the_setting_named(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert "allowed_hosts" in answer.json()["details"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://ui.example.com",
        "http://localhost:6274",
        "http://[::1]:3000",
        "http://10.0.0.1:8080",
    ],
)
def test_pages_of_ours_are_let_through(client: TestClient, origin: str) -> None:
    headers = {"Host": "10.0.0.1:8080", "Origin": origin}
    assert client.post("/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        "https://ui.example.com.evil.example",
        "https://ui.example.com:8443",
        "http://10.0.0.1:9999",
        "http://[",
    ],
)
def test_other_pages_are_refused(client: TestClient, origin: str) -> None:
    headers = {"Host": "10.0.0.1:8080", "Origin": origin}
    answer = client.post("/", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["name"] == "foreign_origin"
    assert "access-control-allow-origin" not in answer.headers


def test_a_browser_may_ask_first(client: TestClient) -> None:
    answer = client.options(
        "/",
        headers={
            "Host": "10.0.0.1:8080",
            "Origin": "https://ui.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,mcp-protocol-version",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ui.example.com"
    assert "mcp-protocol-version" in answer.headers["access-control-allow-headers"].lower()
