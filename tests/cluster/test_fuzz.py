"""Ten thousand requests that nobody would write: none finds a bug, and none leaves memory behind.

Schemathesis makes documents that fit the OpenAPI document, and ones that just do not; what it
cannot make, messages that are no JSON-RPC and requests that are hardly HTTP, comes from generators
with a fixed seed. Builds that are dispatched for real go to a job that no node can run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from builds import GIT
from controllers import Serving, serving
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cluster.cluster import Cluster
from cluster.unplaceable import unplaceable
from tests.unit.mcp import malformed

PREFIX = "fuzz-"
THREADS = 8
MALFORMED, ODD_HTTP, EXAMPLES = 6000, 3000, 40
WARM_UP = 4000
LEAST = 10_000 - MALFORMED - ODD_HTTP  # documents of Schemathesis
MEGABYTE = 1 << 20
JSON = "application/json"
# Schemathesis's other checks do not hold here, and need not: whether a document is taken is decided
# by formats that are stricter than JSON Schema can say (a Git ref, an image's name, a path in
# Vault), and in other places the service takes more than it promises (any content type, null for
# a missing field, numbers as text in a query).
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# These dispatch a job and wait for what it says, which here no node ever does.
ANSWERED_BY_A_NODE = {"checkJob", "promoteImage"}


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    """A controller without builds: with hundreds of waiting ones, lists of them take longer."""
    with (
        unplaceable(cluster, PREFIX),
        serving(cluster, tmp_path, {"NBS_NAME_PREFIX": PREFIX}) as one,
    ):
        yield one
        assert one.process.poll() is None
        assert "Traceback" not in one.log, one.log[-5000:]


# Values of the formats that a schema names and cannot describe: with them most documents that fit
# the schema are ones that the service takes, so that answers of every kind come.
FORMATS = {
    "owner": ["team-web", "fuzz"],
    "git-url": ["https://git.example.com/team/app.git"],
    "git-ref": ["main", "v1.0", "0" * 40],
    "vault-path": [GIT, "secret/nomad-build-service/git/none", "secret/other"],
    "file-path": ["Dockerfile", "a/b"],
    "directory-path": [".", "a"],
    "stage": ["runtime"],
    "line": ["echo a"],
    "command": ["true"],
    "text": ["a", "(a+)+$", "["],
    "env-name": ["A", "B_2"],
    "label-key": ["org.example.a"],
    "label-value": ["a"],
    "platform": ["linux/amd64"],
    "tag": ["1", "latest"],
    "registry-url": ["registry.example.com/team/app"],
    "image-name": ["app"],
    "image-repository": ["registry.example.com/team/app"],
    "digest": ["sha256:" + "0" * 64],
    "timespan": ["10m"],
    "megahertz": ["2000"],
    "megabytes": ["2g"],
    "build-class": ["default"],
    "idempotency-key": ["key-1", "key-2"],
    "since": ["7d"],
    "age": ["30d"],
    "patch": ["--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"],
    "secret-id": ["npm"],
    "build-secret": ["secret/nomad-build-service/build/npm#token"],
    "build-ssh-key": ["secret/nomad-build-service/build/deploy"],
    "webhook-url": ["https://hooks.example.com/a"],
    "webhook-secret": ["secret/nomad-build-service/webhook/a"],
    "webhook-header": ["X-Team"],
    "webhook-value": ["a"],
}

STANDARD = {"date-time", "uri"}  # these Schemathesis knows


@pytest.mark.slow
def test_documents_made_from_the_openapi_document(served: Serving) -> None:
    """Every operation, with documents that fit its schema and with ones that do not."""
    for name, values in FORMATS.items():
        schemathesis.openapi.format(name, st.sampled_from(values))
    ended = cancelled_build(served)
    statuses: dict[str, Counter[int]] = {}
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    assert {*named(schema.raw_schema)} <= FORMATS.keys() | STANDARD, "without values of these"
    for found in schema.get_all_operations():
        operation = found.ok()
        told = statuses.setdefault(f"{operation.method} {operation.path}", Counter())
        modes = [schemathesis.GenerationMode.NEGATIVE]
        if operation.path.rpartition("/")[2] not in ANSWERED_BY_A_NODE:
            modes.append(schemathesis.GenerationMode.POSITIVE)
        for mode in modes:
            with contextlib.suppress(Unsatisfiable):  # what takes no parameter takes no wrong one
                try_out(served, operation, mode, ended, told)
    assert statuses["post /mcp/submitJob"].keys() >= {200, 422}, statuses
    assert statuses["post /mcp/getStatus"].keys() >= {200, 400, 422}
    assert sum(sum(told.values()) for told in statuses.values()) >= LEAST


def named(schema: Any) -> Iterator[str]:
    """The formats that a schema names."""
    if isinstance(schema, dict):
        if isinstance(schema.get("format"), str):
            yield schema["format"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            yield from named(one)


def cancelled_build(served: Serving) -> str:
    """The job_id of a build that has ended."""
    request = {
        "owner": "fuzz",
        "repo_url": "https://git.example.com/team/app.git",
        "git_ref": "main",
        "registry_url": "registry.example.com/team/app",
        "image_tags": ["1"],
    }
    answer = served.post("submitJob", request)
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["job_id"]
    assert served.post("killJob", {"job_id": job_id}).json()["success"]
    return job_id


def try_out(served: Serving, operation: Any, mode: Any, ended: str, told: Counter[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def one(case: Any, known: bool) -> None:
        for part in (case.body, case.path_parameters, case.query):
            if known and isinstance(part, dict) and "job_id" in part:
                part["job_id"] = ended
        if isinstance(case.body, dict) and "repo_url" in case.body and known:
            case.body.setdefault("owner", "fuzz")  # may be left out only with a credential
        answer = case.call(base_url=served.address, timeout=60)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text
        told[answer.status_code] += 1

    one()


@pytest.mark.slow
def test_requests_that_no_client_would_send(served: Serving) -> None:
    """Of both eras of MCP and of plain HTTP; afterwards the controller is as small as before."""
    statuses: Counter[int] = Counter()
    load = itertools.chain.from_iterable(
        itertools.zip_longest(messages(MALFORMED), odd_http(ODD_HTTP))
    )
    sent = [one for one in load if one is not None]
    send(served, sent[:WARM_UP], statuses)
    before = served.rss()
    send(served, sent[WARM_UP:], statuses)
    grown = (served.rss() - before) / MEGABYTE
    assert sum(statuses.values()) == MALFORMED + ODD_HTTP
    assert {200, 400, 403, 404, 405, 413, 421, 422} <= statuses.keys(), statuses
    # Python gives memory back late, and the loads are not the same: this much is no leak. About
    # one and a half kilobytes kept of each request would be more.
    assert grown < 6.5, f"{grown:.1f} MB more after {len(sent) - WARM_UP} requests"


Send = Callable[[httpx.Client], httpx.Response]


def send(served: Serving, requests: list[Send], statuses: Counter[int]) -> None:
    """All of them, over a few kept connections; every kind of bad answer is told at the end."""
    local = threading.local()
    bad: dict[str, str] = {}

    def one(request: Send) -> int:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=served.address, timeout=60, trust_env=False)
        try:
            answer = request(local.client)
        except httpx.TransportError as error:
            asked = error.request
            bad[f"{type(error).__name__}: {asked.method} {asked.url.path}"] = (
                f"{error} {asked.headers} {asked.content[:300]!r}"
            )
            return 0
        try:
            malformed.assert_civil(answer.status_code, answer.text)
            assert_documented(answer)
        except (AssertionError, ValueError) as error:
            asked = answer.request
            bad[f"{type(error).__name__}: {answer.status_code} {asked.method} {asked.url.path}"] = (
                f"{error} {asked.headers} {asked.content[:300]!r} -> {answer.headers} {answer.text}"
            )
        return answer.status_code

    with ThreadPoolExecutor(THREADS) as pool:
        statuses.update(pool.map(one, requests))
    assert not bad, "\n\n".join(f"{kind}\n{text[:1500]}" for kind, text in bad.items())


def assert_documented(answer: httpx.Response) -> None:
    """Whatever is refused is refused by a JSON document."""
    if answer.status_code < 400:
        return
    if answer.request.url.path == "/mcp" and "content-type" not in answer.headers:
        # So the protocol's SDK refuses a Content-Type or an Accept that is none of the protocol's.
        assert answer.status_code in (400, 406)
        return
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind in (JSON, "application/problem+json"), kind
    assert isinstance(answer.json(), dict)


def messages(number: int) -> Iterator[Send]:
    """JSON-RPC that is wrong."""
    for body, headers in malformed.requests(7, number):
        told = {"Accept": f"{JSON}, text/event-stream", "Content-Type": JSON, **headers}
        yield lambda client, body=body, told=told: client.post(  # type: ignore[misc]
            "/mcp", content=body, headers=told
        )


PATHS = [
    *("/mcp/submitJob", "/mcp/getStatus", "/json/getLogs", "/mcp/getHistory", "/json/killJob"),
    *("/mcp/waitForJob", "/mcp/getFailure", "/json/cleanup", "/mcp/streamLogs"),
    *("/mcp/job/a/status", "/json/job/%2e%2e/logs", "/mcp/job/default.image-build.1-a/logs"),
    *("/mcp", "/mcp/", "//mcp", "/mcp/nothing", "/metrics", "/health/", "/ready"),
    *("/.well-known/oauth-protected-resource", "/.well-known/x", "/%00", "/" + "a" * 8000),
]
FIELDS = ["job_id", "owner", "limit", "after", "lines", "phase", "search", "job_config", "since"]
HEADERS: list[tuple[str, str]] = [
    ("Host", "evil.example.com"),
    ("Host", "[::1"),
    ("Origin", "https://evil.example.com"),
    ("Origin", "null"),
    ("Origin", "http://["),
    ("Authorization", "Bearer \x7f"),
    ("Authorization", "Basic eDp5"),
    ("Last-Event-ID", "not a cursor"),
    ("Content-Encoding", "gzip"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Type", "multipart/form-data"),
    ("Accept", "application/x-nothing"),
    ("Upgrade", "websocket"),
    ("Cookie", "a=" + "b" * 2000),
    ("Range", "bytes=0-1"),
    ("X-Forwarded-For", "::1"),
]


def odd_http(number: int) -> Iterator[Send]:
    """Requests with anything in any place."""
    chance = random.Random(11)
    for _ in range(number):
        method = chance.choice(["POST"] * 6 + ["GET"] * 3 + ["PUT", "DELETE", "OPTIONS", "PATCH"])
        given = {chance.choice(FIELDS): chance.choice(malformed.ODD) for _ in range(3)}
        content = json.dumps(given).encode()
        if chance.random() < 0.3:
            content = chance.choice([*malformed.BODIES, b"x" * (2 << 20)])
        query = {name: str(value)[:200] for name, value in given.items()}
        headers = dict([chance.choice(HEADERS)] if chance.random() < 0.5 else [])
        path = chance.choice(PATHS)
        yield lambda client, told=(method, path, content, query, headers): client.request(  # type: ignore[misc]
            told[0],
            told[1],
            content=told[2] if told[0] != "GET" else None,
            params=told[3] if told[0] == "GET" else None,
            headers=told[4],
        )
