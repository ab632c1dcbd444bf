"""A task with a template of the operator's own, whose secret Vault refuses: named, and ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually
from controllers import serving

from cluster.cluster import Cluster
from cluster.unplaceable import variant

ROLE = "nbs-build-blocked"
PREFIX = "blocked-"
PATH = "secret/data/nomad-build-service/registry/demo"


def with_template(job: dict[str, Any]) -> None:
    """Give the build task a secret that its role may not read."""
    task = next(one for one in job["TaskGroups"][0]["Tasks"] if one["Name"] == "build")
    task["Vault"] = {"Role": ROLE, "ChangeMode": "noop", "Env": False}
    task["Templates"] = [
        {
            "EmbeddedTmpl": '{{ with secret "' + PATH + '" }}{{ .Data.data.password }}{{ end }}',
            "DestPath": "secrets/more",
            "ChangeMode": "noop",
            "ErrMissingKey": False,
        }
    ]


@pytest.fixture
def role(cluster: Cluster) -> Iterator[None]:
    """The role of the build phase, for the job that the test registers."""
    client = cluster.vault.client()
    like = client.read("auth/jwt-nomad/role/nbs-build")["data"]
    claims = like["bound_claims"] | {"nomad_job_id": f"{PREFIX}image-build"}
    client.write_data(f"auth/jwt-nomad/role/{ROLE}", data=like | {"bound_claims": claims})
    yield
    client.delete(f"auth/jwt-nomad/role/{ROLE}")


@pytest.mark.slow
@pytest.mark.usefixtures("role")
def test_a_secret_that_nomad_cannot_fetch_ends_the_build(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    settings = {"NBS_NAME_PREFIX": PREFIX, "NBS_SECRET_WAIT": "6", "NBS_RELIST_INTERVAL": "2"}
    with variant(cluster, PREFIX, with_template), serving(cluster, tmp_path, settings) as one:
        request = builds.request(builds.dockerfile("RUN true"))
        job_id = one.post("submitJob", request).json()["job_id"]

        def status() -> dict[str, Any]:
            found: dict[str, Any] = one.post("getStatus", {"job_id": job_id}).json()
            return found

        eventually("the path is named", lambda: PATH in status().get("message", ""), 20)
        assert "refuses" in status()["message"]
        ended = eventually(
            "the build has ended", lambda: (s := status())["status"] == "FAILED" and s, 40
        )
        assert ended["failure"]["reason"] == "SecretRefused"
        assert PATH in ended["failure"]["message"]
        assert (ended["failure"]["phase"], builds.tags(request)) == ("build", [])
