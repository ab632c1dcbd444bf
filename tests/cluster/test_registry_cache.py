"""Layers that travel between nodes: what a node without them gets, and what may go wrong.

An owner's storage that is moved away is, to a build, a node that never built for the owner.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from builds import Builds, nomad_job_id

from cluster.cluster import Cluster
from cluster.git_repository import GitRepository

pytestmark = pytest.mark.slow

CREDENTIAL = "secret/nomad-build-service/cache/layers"
STAMP = "RUN cat /proc/uptime /proc/sys/kernel/random/uuid > /stamp"


def deployed(cluster: Cluster, **variables: object) -> Builds:
    cluster.pack.deploy(variables)
    return Builds(cluster, cluster.pack.wait_healthy())


@pytest.fixture(scope="module")
def shared(cluster: Cluster, controller_address: str) -> Iterator[Builds]:
    """A deployment with a registry cache."""
    yield deployed(
        cluster,
        cache_repository=f"{cluster.registry.host}/nbs/cache",
        cache_credentials_path=CREDENTIAL,
    )
    cluster.pack.deploy()


def to_another_node(builds: Builds, owner: str) -> None:
    directory = builds.cluster.state.storage / hashlib.sha256(owner.encode()).hexdigest()[:16]
    directory.rename(directory.with_name(f"{directory.name}-{time.monotonic_ns()}"))


def two_stages(builds: Builds, source: str) -> dict[str, str]:
    base = builds.cluster.base_image
    return {
        "Dockerfile": f"FROM {base} AS made\nRUN echo tools > /tools\nCOPY source /source\n"
        f"RUN cat /source > /made\nFROM {base}\n{STAMP}\nENV A=1\n"
        "COPY --from=made /made /made\n",
        "source": source,
    }


def hits(status: dict[str, Any]) -> dict[str, bool]:
    return {
        step["text"]: step["cached"]
        for step in status["steps"]
        if step["line"] and not step["text"].startswith("FROM")
    }


def run(builds: Builds, repository: GitRepository, owner: str, **fields: Any) -> dict[str, Any]:
    status = builds.run(builds.request(repository, owner=owner, **fields), "SUCCEEDED")
    builds.assert_clean(builds.await_end(nomad_job_id(status["job_id"]))["ID"])
    return status


def test_another_node_has_every_layer_of_the_first(shared: Builds) -> None:
    owner = f"Shared-{time.monotonic_ns()}"
    repository = shared.repository(two_stages(shared, "one"))
    first = run(shared, repository, owner)
    assert first["cache"]["pushed"] >= 5
    assert first["cache"]["warnings"] == []
    assert not any(hits(first).values())

    again = run(shared, repository, owner)
    assert again["cache"]["pushed"] == again["cache"]["pulled"] == 0
    assert all(hits(again).values())

    to_another_node(shared, owner)
    cold = run(shared, repository, owner)
    assert all(hits(cold).values()), cold
    assert cold["cache"]["pulled"] >= 5
    assert cold["cache"]["misses"] == 0
    assert cold["digest"] == first["digest"]

    alone = run(shared, repository, f"{owner}-2")
    assert not any(hits(alone).values())


def test_a_change_in_one_stage_leaves_the_other_its_hits(shared: Builds) -> None:
    """What the pass before the build copies itself is a miss and is told as one."""
    owner = f"stages-{time.monotonic_ns()}"
    repository = shared.repository(two_stages(shared, "one"))
    run(shared, repository, owner)
    to_another_node(shared, owner)
    repository.push(two_stages(shared, "two"))
    found = hits(run(shared, repository, owner))
    assert found == {
        "RUN echo tools > /tools": True,
        "COPY source /source": False,
        "RUN cat /source > /made": False,
        STAMP: True,
        "ENV A=1": True,
        "COPY --from=made /made /made": False,
    }


def test_no_registry_cache_where_none_is_wanted(shared: Builds) -> None:
    owner = f"none-{time.monotonic_ns()}"
    repository = shared.repository(two_stages(shared, "one"))
    status = run(shared, repository, owner, cache=False)
    assert not {"pulled", "pushed", "warnings"} & set(status["cache"])
    to_another_node(shared, owner)
    assert not any(hits(run(shared, repository, owner)).values())


def test_run_steps_see_no_credential_of_the_cache(shared: Builds) -> None:
    """The password is searched for in two parts: the step's own text must not be a find."""
    password = shared.cluster.registry.password
    head, tail = password[:5], password[5:]
    repository = shared.dockerfile(
        f"RUN p='{head}'; p=\"$p\"'{tail}'; "
        'grep -lsF -- "$p" /proc/[0-9]*/environ /proc/[0-9]*/cmdline >> /found; '
        'grep -rlsF -- "$p" /etc /run /tmp /root /var /home >> /found; '
        "find / -xdev -name 'registry-auth*' >> /found; "
        "grep -v '^/proc/self/' /found | grep -v \"^/proc/$$/\" | sed 's/^/FOUND /'; true",
        STAMP,
        "RUN ls /proc | grep -c '^[0-9]' | sed 's/^/processes /'",
    )
    status = run(shared, repository, f"probe-{time.monotonic_ns()}")
    assert status["cache"]["pushed"] > 0
    text = shared.text(status["job_id"])
    assert "FOUND" not in [word for line in text.splitlines() for word in line.split()[:2]]
    assert password not in text


def test_an_add_from_the_network_keeps_the_host_network_out_of_it(shared: Builds) -> None:
    """A pass has the host's network; a Dockerfile must not make it fetch from there."""
    address = shared.cluster.nomad.address
    repository = shared.dockerfile(f"ARG WHERE={address}/v1/agent/self", "ADD $WHERE /leak")
    status = shared.run(
        shared.request(repository, owner=f"add-{time.monotonic_ns()}", build_network="egress"),
        "FAILED",
    )
    assert status["failure"]["phase"] == "build"
    assert any("ADD from the network" in one for one in status["cache"]["warnings"])


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"cache_repository": "127.0.0.1:1/nbs/cache"}, "connection refused"),
        ({"cache_credentials_path": "secret/nomad-build-service/cache/none"}, "no secret"),
        ({"cache_credentials_path": ""}, "authentication required"),
    ],
    ids=["unreachable", "no-secret", "unauthorized"],
)
def test_a_cache_that_cannot_be_used_fails_no_build(
    cluster: Cluster, controller_address: str, variables: dict[str, object], word: str
) -> None:
    values = {
        "cache_repository": f"{cluster.registry.host}/nbs/cache",
        "cache_credentials_path": CREDENTIAL,
    } | variables
    builds = deployed(cluster, **values)
    try:
        status = run(builds, builds.dockerfile(STAMP), f"broken-{time.monotonic_ns()}")
        (warning,) = status["cache"]["warnings"]
        assert word in warning
        assert warning in builds.text(status["job_id"])
        assert (status["cache"]["pulled"], status["cache"]["pushed"]) == (0, 0)
    finally:
        cluster.pack.deploy()
