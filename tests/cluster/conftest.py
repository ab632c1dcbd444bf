"""The service on the session's cluster, where its controller is at this moment."""

from __future__ import annotations

import pytest
from builds import Builds

from cluster.cluster import Cluster


@pytest.fixture
def builds(cluster: Cluster, controller_address: str) -> Builds:
    return Builds(cluster, cluster.pack.wait_healthy())
