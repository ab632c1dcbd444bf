"""The service on the session's cluster, where its controller is at this moment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builds import Builds
from issuing import Issuer, issuing
from listening import Metadata, metadata_service

from cluster.cluster import Cluster


@pytest.fixture
def builds(cluster: Cluster, controller_address: str) -> Builds:
    return Builds(cluster, cluster.pack.wait_healthy())


@pytest.fixture(scope="session")
def issuer(cluster: Cluster) -> Iterator[Issuer]:
    with issuing(cluster) as one:
        yield one


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    """A metadata service that none but this host has reached at the end."""
    with metadata_service() as service:
        yield service
