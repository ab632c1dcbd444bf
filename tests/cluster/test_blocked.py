"""A task with a template of the operator's own, whose secret Vault refuses: named, and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builds import Builds, eventually
from controllers import serving

from cluster.cluster import Cluster
from cluster.unplaceable import variant

PATH = "secret/data/nomad-build-service/registry/demo"


def with_template(job: dict[str, Any]) -> None:
    """Give the build task a secret that its role may not read."""
    task = next(one for one in job["TaskGroups"][0]["Tasks"] if one["Name"] == "build")
    task["Vault"] = {"Role": "nbs-build", "ChangeMode": "noop", "Env": False}
    task["Templates"] = [
        {
            "EmbeddedTmpl": f'{{{{ with secret "{PATH}" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}',
            "DestPath": "secrets/more",
            "ChangeMode": "noop",
            "ErrMissingKey": False,
        }
    ]


def test_a_secret_that_nomad_cannot_fetch_ends_the_build(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    prefix = "blocked-"
    settings = {"NBS_NAME_PREFIX": prefix, "NBS_SECRET_WAIT": "6", "NBS_RELIST_INTERVAL": "2"}
    with variant(cluster, prefix, with_template), serving(cluster, tmp_path, settings) as one:
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
