"""What is said of a webhook before anything is built."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from builds import Builds

pytestmark = pytest.mark.slow

PATH = "secret/nomad-build-service/webhook/demo"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"webhook_url": "https://127.0.0.1/"}, "webhook_url", "private address"),
        ({"webhook_url": "https://[::ffff:10.0.0.1]/"}, "webhook_url", "private address"),
        ({"webhook_url": "https://169.254.169.254/"}, "webhook_url", "metadata"),
        ({"webhook_url": "http://8.8.8.8/"}, "webhook_url", "without TLS"),
        ({"webhook_url": "gopher://8.8.8.8/"}, "webhook_url", "not an HTTP URL"),
        ({"webhook_url": "https://me:hunter2@example.com/"}, "webhook_url", "password"),
        ({"webhook_secret": "hunter2"}, "webhook_secret", "nomad-build-service/webhook"),
        ({"webhook_secret": f"{PATH}-none"}, "webhook_secret", "no secret"),
        (
            {"webhook_headers": {"Authorization": "hunter2"}},
            "webhook_headers.Authorization",
            "Vault secret",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(
    builds: Builds, fields: dict[str, Any], field: str, words: str
) -> None:
    request = builds.request(builds.dockerfile(), webhook_url="https://example.com/") | fields
    answer = builds.http.post("/mcp/submitJob", json=request)
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["problems"]
    assert problem["field"] == field
    assert words in f"{problem['problem']}; {problem['fix']}"
    assert "hunter2" not in answer.text
    checked = builds.http.post("/mcp/checkJob", json=request).json()
    assert not checked["ok"]
    (told,) = [one for one in checked["checks"] if one["status"] == "failed"]
    assert (told["name"] in ("request", "webhook"), told["field"]) == (True, field)
    assert "hunter2" not in json.dumps(checked)


def test_check_looks_into_the_secret(builds: Builds) -> None:
    name = f"nomad-build-service/webhook/t{uuid.uuid4().hex[:8]}"
    request = builds.request(
        builds.dockerfile(),
        webhook_url="https://hooks.example.com/",
        webhook_secret=f"secret/{name}",
    )

    def told() -> tuple[str, str]:
        found = builds.http.post("/mcp/checkJob", json=request).json()
        (one,) = [one for one in found["checks"] if one["name"] == "webhook"]
        assert "hunter2" not in json.dumps(found)
        assert found["ok"] is (one["status"] == "passed")
        return one["status"], one["message"]

    builds.cluster.vault_put(name, {"key": "hunter2"})
    assert told() == ("failed", "webhook_secret: the secret has no field `secret`")
    builds.cluster.vault_put(name, {"secret": "hunter2", "hosts": "other.example.com"})
    assert "not for hooks.example.com" in told()[1]
    builds.cluster.vault_put(name, {"secret": "hunter2", "hosts": "hooks.example.com"})
    assert told()[0] == "passed"


def test_the_controller_reads_no_other_secret(builds: Builds) -> None:
    """Its policy is the wall: with its own role, keys of webhooks can be read and nothing else."""
    policy = builds.cluster.vault.client().sys.read_policy("nbs-controller")["data"]["rules"]
    data = [line for line in policy.splitlines() if line.startswith('path "secret/data/')]
    assert data == ['path "secret/data/nomad-build-service/webhook/*" {']
    for name in ("nbs-build", "nbs-publish"):
        rules = builds.cluster.vault.client().sys.read_policy(name)["data"]["rules"]
        assert "webhook" not in rules
