"""The scenarios that need no fixtures, against the service as Nomad runs it.

The rest of the suite would pass here for the wrong reason: its tools do not exist, and some
scenarios take the refusal for the failure that they want to see.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import suite

from cluster import sample
from cluster.cluster import Cluster
from cluster.node_packages import NodePackages
from cluster.submission import Controller

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
WITHOUT_FIXTURES = Path(__file__).parent / "expected-failures-product.yml"


@pytest.fixture(scope="module")
def url(cluster: Cluster, controller_address: str) -> str:
    """The endpoint, with at least one build to read."""
    controller = Controller(cluster.pack.wait_healthy())
    controller.submit(sample.build_request(cluster) | {"idempotency_key": "conformance"})
    return f"{controller.address}/mcp"


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [
        ("2025-11-25", "server-initialize"),
        ("2025-11-25", "ping"),
        ("2025-11-25", "tools-list"),
        ("2025-11-25", "resources-list"),
        ("2025-11-25", "prompts-list"),
        ("2025-11-25", "dns-rebinding-protection"),
        ("2026-07-28", "tools-list"),
        ("2026-07-28", "resources-list"),
        ("2026-07-28", "prompts-list"),
        ("2026-07-28", "dns-rebinding-protection"),
        ("2026-07-28", "caching"),
        ("2026-07-28", "sep-2164-resource-not-found"),
        ("2026-07-28", "http-header-validation"),
        ("2026-07-28", "input-required-result-unsupported-methods"),
        ("2026-07-28", "server-sse-multiple-streams"),
    ],
)
def test_scenario(packages: NodePackages, url: str, revision: str, scenario: str) -> None:
    report = suite.run(packages, url, "--scenario", scenario, "--spec-version", revision)
    assert report.exit_code == 0, report.output
    assert "Passed: 0/" not in report.output


def test_statelessness(packages: NodePackages, url: str) -> None:
    report = suite.run(
        packages,
        url,
        *("--scenario", "server-stateless", "--spec-version", "2026-07-28"),
        *("--expected-failures", str(WITHOUT_FIXTURES)),
    )
    assert report.exit_code == 0, report.output
