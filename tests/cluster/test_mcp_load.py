"""What MCP costs beside a direct dispatch, and that the server keeps its size under nonsense."""

from __future__ import annotations

import base64
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from builds import Builds
from controllers import REPOSITORY, Serving, serving
from mcp_requests import LEGACY, MODERN, Mcp

from cluster.cluster import Cluster

NOWHERE = "image-build-nowhere"
_ROUNDS = 60


@pytest.fixture
def nowhere(builds: Builds) -> Iterator[None]:
    """A build class that no node has room for: what is dispatched costs Nomad a job, no build."""
    job = builds.nomad.get("/v1/job/image-build").raise_for_status().json()
    job |= {"ID": NOWHERE, "Name": NOWHERE}
    job["Constraints"] = [{"LTarget": "${node.unique.name}", "RTarget": "none", "Operand": "="}]
    builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
    yield
    listed = builds.nomad.get("/v1/jobs", params={"prefix": NOWHERE}).json()
    for one in sorted(listed, key=lambda job: -len(job["ID"])):
        identifier = one["ID"].replace("/", "%2F")
        builds.nomad.delete(f"/v1/job/{identifier}", params={"purge": "true"})


def test_a_submission_over_mcp_beside_a_direct_dispatch(
    cluster: Cluster, builds: Builds, nowhere: None, tmp_path: Path
) -> None:
    classes = json.dumps({"default": {}, "nowhere": {}})
    request = builds.request(
        builds.dockerfile(),
        git_credentials_path=None,
        registry_credentials_path=None,
        **{"class": "nowhere"},
    )
    with serving(cluster, tmp_path, {"NBS_BUILD_CLASSES": classes}) as served:
        payload = {"Payload": base64.b64encode(json.dumps(request).encode()).decode()}
        payload["Meta"] = {"pack.deployment_name": ""}  # type: ignore[assignment]
        ways: dict[str, Callable[[], Any]] = {
            "dispatch": _post(f"{cluster.nomad.address}/v1/job/{NOWHERE}/dispatch", payload),
            "rest": _post(f"{served.address}/mcp/submitJob", request),
        }
        for version in (MODERN, LEGACY):
            ways[version] = _tool(Mcp(served.address, version), request)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(_ROUNDS + 5):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if turn >= 5:
                    times[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) * 1000 for name, values in times.items()}
    shown = ", ".join(f"{name} {value:.2f} ms" for name, value in median.items())
    print(shown)
    # What the protocol adds to the same call over REST, and what the whole costs. (On an idle
    # machine it is below twice a dispatch; other work on it delays the longer way more.)
    assert median[MODERN] <= 1.5 * median["rest"], shown
    assert median[LEGACY] <= 1.8 * median["rest"], shown
    assert median[MODERN] <= 3 * median["dispatch"], shown


def _post(url: str, body: Any) -> Callable[[], Any]:
    client = httpx.Client(timeout=30)
    return lambda: client.post(url, json=body).raise_for_status()


def _tool(mcp: Mcp, request: dict[str, Any]) -> Callable[[], Any]:
    return lambda: mcp.tool("submitJob", **request)


@pytest.mark.slow
def test_ten_thousand_malformed_messages(
    cluster: Cluster, controller_address: str, tmp_path: Path
) -> None:
    malformed = _module("malformed")
    with serving(cluster, tmp_path) as served:

        def send(seed: int, number: int) -> None:
            with httpx.Client(timeout=30) as client:
                for body, headers in malformed.requests(seed, number):
                    answer = client.post(f"{served.address}/mcp", content=body, headers=headers)
                    malformed.assert_civil(answer.status_code, answer.text)

        def all_at_once(seeds: range, number: int) -> None:
            with ThreadPoolExecutor(len(seeds)) as pool:
                list(pool.map(lambda seed: send(seed, number), seeds))

        all_at_once(range(100, 104), 250)
        before = served.rss()
        began = time.monotonic()
        all_at_once(range(4), 2500)
        seconds = time.monotonic() - began
        grown = served.rss() - before
        print(f"10000 in {seconds:.0f} s, memory {before >> 20} MB, grown by {grown >> 10} KB")
        assert seconds < 150
        assert grown < 16 << 20
        assert served.process.poll() is None
        assert "Traceback" not in served.log
        assert Mcp(served.address).result("tools/list")["tools"]


def _module(name: str) -> ModuleType:
    """A module of the unit tests."""
    path = REPOSITORY / "tests" / "unit" / "mcp" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_memory_stays_flat_over_calls_of_the_older_era(
    cluster: Cluster, controller_address: str, tmp_path: Path
) -> None:
    """Each such call has a transport of its own, and must leave nothing behind."""
    with serving(cluster, tmp_path) as served:
        mcp = Mcp(served.address, LEGACY)

        def calls(number: int) -> int:
            for _ in range(number):
                mcp.result("tools/list")
            return served.rss()

        before = calls(300)
        grown = calls(1500) - before
        assert grown < 8 << 20, f"{before >> 20} MB, grown by {grown >> 10} KB"


def test_the_server_is_small(served_at_rest: Serving) -> None:
    Mcp(served_at_rest.address).result("tools/list")
    assert served_at_rest.rss() < 110 << 20


@pytest.fixture
def served_at_rest(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(cluster, tmp_path) as one:
        yield one
