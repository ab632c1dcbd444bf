"""Fixtures: one cluster of real servers for the whole session, and the pack deployed on it.

With NBS_TEST_STATE_DIR the cluster in that directory is used and left running; otherwise the
session makes its own and removes it. A server that cannot be had is a failure, never a skip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import diagnosis
from cluster.cluster import Cluster
from cluster.paths import throw_away_state_directory
from cluster.submission import Controller

CLUSTER_TESTS = [Path(__file__).parent / name for name in ("cluster", "docker")]

_running: list[Cluster] = []


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    chosen = os.environ.get("NBS_TEST_STATE_DIR")
    root = Path(chosen) if chosen else throw_away_state_directory()
    try:
        started = Cluster.start(root)
        _running.append(started)
        yield started
    finally:
        _running.clear()
        if not chosen and (root / "cluster.json").exists():
            Cluster(root).stop()


@pytest.fixture(scope="session")
def controller_address(cluster: Cluster) -> str:
    """Return the address of the controller that the pack, deployed by nomad-pack, runs."""
    return cluster.pack.deploy()


@pytest.fixture
def controller(cluster: Cluster, controller_address: str) -> Controller:
    """Return a client of the controller where it is now: a test may have moved it."""
    return Controller(cluster.pack.wait_healthy())


def _on_cluster(item: pytest.Item) -> bool:
    return any(folder in item.path.parents for folder in CLUSTER_TESTS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _on_cluster(item):
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what the servers say to the report of a failed cluster test."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and _running and _on_cluster(item):
        report.sections.append(("cluster", diagnosis.describe(_running[0])))
