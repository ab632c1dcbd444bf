"""The MCP server keeps its size and its manners under nonsense and under many calls."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from controllers import REPOSITORY, Serving, serving
from mcp_requests import LEGACY, Mcp

from cluster.cluster import Cluster


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
        all_at_once(range(4), 2500)
        grown = served.rss() - before
        print(f"memory {before >> 20} MB, grown by {grown >> 10} KB")
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
