"""The REST API: refusals with the right code and words, settings, health, dependencies away."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds
from controllers import Serving, serving

from cluster.cluster import Cluster


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    classes = {
        "default": {"cpu": 500, "memory": 512, "disk": 1000},
        "large": {"cpu": 4000, "memory": 8192, "disk": 20000, "arch": "amd64"},
    }
    settings = {"NBS_BUILD_CLASSES": json.dumps(classes)}
    with serving(cluster, tmp_path_factory.mktemp("controller"), settings) as one:
        yield one


REQUEST = {
    "owner": "api",
    "repo_url": "https://git.example.com/x.git",
    "registry_url": "registry.example.com/x",
}


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        (b"{", 400, "malformed_request"),
        (b"[]", 400, "malformed_request"),
        (b"", 400, "malformed_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b'{"a": NaN}', 400, "malformed_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b'{"owner": "x"}', 422, "invalid_fields"),
        (b"{}", 422, "invalid_fields"),
        (b"x" * (2 << 20), 413, "request_too_large"),
    ],
)
@pytest.mark.parametrize("base", ["mcp", "json"])
def test_refusals_of_submit_job(
    served: Serving, base: str, body: bytes, code: int, name: str
) -> None:
    answer = httpx.post(f"{served.address}/{base}/submitJob", content=body)
    assert answer.status_code == code
    assert answer.json()["name"] == name
    assert answer.json()["code"] == code
    assert answer.json()["error"]


@pytest.mark.parametrize("name", ["getStatus", "getLogs", "killJob"])
def test_refusals_of_the_others(served: Serving, name: str) -> None:
    assert served.post(name, {}).status_code == 422
    assert served.post(name, {"job_id": 3}).status_code == 422
    assert served.post(name, {"job_id": "../../v1/jobs"}).status_code == 400
    unknown = served.post(name, {"job_id": "default.image-build.1-deadbeef"})
    assert (unknown.status_code, unknown.json()["name"]) == (404, "unknown_job")
    # Jobs that are not builds are none of our business.
    assert served.post(name, {"job_id": "default.other.1-deadbeef"}).status_code == 404
    assert served.post(name, {"job_id": "secret.image-build.1-deadbeef"}).status_code == 404
    assert httpx.get(f"{served.address}/mcp/{name}").status_code == 405


def test_unknown_paths_are_json_too(served: Serving) -> None:
    answer = httpx.get(f"{served.address}/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_every_field_error_at_once(served: Serving) -> None:
    answer = served.post(
        "submitJob",
        {
            "job_config": {
                "repo_url": "https://a:hunter2@h/x",
                "git_ref": "--upload-pack=id",
                "imagetags": ["x"],
                "test": {"timeout": "soon"},
            }
        },
    )
    assert answer.status_code == 422
    assert {one["field"] for one in answer.json()["problems"]} == {
        "owner",
        "registry_url",
        "repo_url",
        "git_ref",
        "imagetags",
        "test.timeout",
    }
    assert "hunter2" not in answer.text


def test_a_credentials_path_that_vault_does_not_have(served: Serving) -> None:
    answer = served.post(
        "submitJob",
        REQUEST
        | {
            "git_credentials_path": "secret/nomad-build-service/git/nobody",
            "registry_credentials_path": "other/x",
        },
    )
    assert answer.status_code == 422
    problems = {one["field"]: one["problem"] for one in answer.json()["problems"]}
    assert "'secret/nomad-build-service/git/nobody'" in problems["git_credentials_path"]
    assert "mount" in problems["registry_credentials_path"]


def test_no_class_is_large_enough(served: Serving) -> None:
    answer = served.post("submitJob", REQUEST | {"resource_limits": {"memory": "64GB"}})
    assert answer.status_code == 422
    fix = answer.json()["problems"][0]["fix"]
    assert "default: cpu 500" in fix
    assert "large: cpu 4000" in fix


def test_a_class_whose_job_is_not_registered(served: Serving) -> None:
    answer = served.post("submitJob", REQUEST | {"resource_limits": {"memory": 4096}})
    assert answer.status_code == 503
    assert "image-build-large" in answer.json()["error"]
    assert "nomad-pack run" in answer.json()["details"]
    assert answer.headers["retry-after"]


def test_a_request_too_large_for_nomad(served: Serving) -> None:
    import random

    noise = [random.Random(seed).randbytes(4000).hex() for seed in range(64)]
    answer = served.post("submitJob", REQUEST | {"test_commands": noise})
    assert answer.status_code == 413
    assert "can be carried" in answer.json()["error"]


def test_the_same_key_is_the_same_build(builds: Builds, served: Serving) -> None:
    repository = builds.dockerfile("RUN true")
    request = builds.request(repository, idempotency_key=uuid.uuid4().hex)
    first, again = (served.post("submitJob", request).json() for _ in range(2))
    assert first["created"]
    assert not again["created"]
    assert again["job_id"] == first["job_id"]
    conflict = served.post("submitJob", request | {"git_ref": "other"})
    assert (conflict.status_code, conflict.json()["name"]) == (409, "idempotency_conflict")
    # With a tag of its own: two builds that move one tag at once may find each other's digest.
    changed = {"owner": "somebody-else", "image_tags": ["v2"]}
    other = served.post("submitJob", request | changed).json()
    assert other["job_id"] != first["job_id"]
    for one in (first, other):
        builds.await_status(one["job_id"], "SUCCEEDED")


def test_one_key_at_once_on_two_replicas_is_one_build(
    builds: Builds, served: Serving, cluster: Cluster, tmp_path: Path
) -> None:
    request = builds.request(builds.dockerfile("RUN true"), idempotency_key=uuid.uuid4().hex)
    with serving(cluster, tmp_path) as second, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(one.post, "submitJob", request) for one in (served, second) * 4]
        answers = [call.result().json() for call in calls]
    assert len({answer["job_id"] for answer in answers}) == 1
    assert sum(answer["created"] for answer in answers) == 1
    builds.await_status(answers[0]["job_id"], "SUCCEEDED")


def test_health_and_ready(served: Serving, cluster: Cluster) -> None:
    health = httpx.get(f"{served.address}/health")
    assert health.status_code == 200
    assert health.json()["services"] == dict.fromkeys(("nomad", "consul", "vault"), "healthy")
    ready = httpx.get(f"{served.address}/ready").json()
    assert ready["status"] == "ready"
    settings = ready["settings"]
    assert settings["nomad_addr"] == {
        "value": cluster.nomad.address,
        "source": "environment NOMAD_ADDR",
    }
    assert settings["vault_token"]["value"] == "(set)"
    assert settings["max_body"]["source"] == "default"


def test_settings_come_from_consul(cluster: Cluster, tmp_path: Path) -> None:
    key = f"{cluster.consul.address}/v1/kv/nomad-build-service/config/max_body"
    httpx.put(key, content=b"2000", headers=cluster.consul.headers).raise_for_status()
    try:
        with serving(cluster, tmp_path) as one:
            shown = httpx.get(f"{one.address}/ready").json()["settings"]["max_body"]
            assert shown == {"value": 2000, "source": "consul nomad-build-service/config/max_body"}
            assert one.post("submitJob", {"owner": "x" * 3000}).status_code == 413
        with serving(cluster, tmp_path, {"NBS_MAX_BODY": "3000"}) as one:
            shown = httpx.get(f"{one.address}/ready").json()["settings"]["max_body"]
            assert shown["source"] == "environment NBS_MAX_BODY"
    finally:
        httpx.delete(key, headers=cluster.consul.headers).raise_for_status()


def test_without_consul_nobody_knows_who_may_come_in(cluster: Cluster, tmp_path: Path) -> None:
    """Its settings may say who is let in, so a controller without them does not begin."""
    with (
        pytest.raises(AssertionError, match="settings in Consul cannot be read"),
        serving(cluster, tmp_path, {"CONSUL_HTTP_ADDR": "http://127.0.0.1:9"}),
    ):
        pass
    with (
        pytest.raises(AssertionError, match="settings in Consul cannot be read"),
        serving(cluster, tmp_path, {"CONSUL_HTTP_TOKEN": "00000000-0000-0000-0000-000000000000"}),
    ):
        pass


def test_a_bad_setting_is_named(cluster: Cluster, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="setting port from environment NBS_PORT"),
        serving(cluster, tmp_path, {"NBS_PORT": "many"}),
    ):
        pass


@pytest.mark.parametrize(
    ("variable", "name"),
    [("NOMAD_ADDR", "nomad"), ("CONSUL_HTTP_ADDR", "consul"), ("VAULT_ADDR", "vault")],
)
def test_a_dependency_that_is_away(
    cluster: Cluster, tmp_path: Path, variable: str, name: str
) -> None:
    """Nothing listens on the port: 503 with what is down, wherever it is needed."""
    away = {variable: "http://127.0.0.1:9", "NBS_WITHOUT_CONSUL": str(name == "consul").lower()}
    with serving(cluster, tmp_path, away) as one:
        health = httpx.get(f"{one.address}/health")
        assert health.status_code == 503
        assert health.json()["services"][name] == "unhealthy"
        assert "127.0.0.1:9" in health.json()["problems"][name]
        assert httpx.get(f"{one.address}/ready").status_code == (503 if name == "nomad" else 200)
        request: dict[str, Any] = REQUEST
        if name == "vault":
            request = REQUEST | {"git_credentials_path": "secret/nomad-build-service/git/demo"}
        if name != "consul":
            answer = one.post("submitJob", request)
            assert answer.status_code == 503
            assert answer.json()["error"].startswith(name)


def test_start_and_idle_cost(cluster: Cluster, tmp_path: Path) -> None:
    with serving(cluster, tmp_path) as one:
        assert one.started_in < 5.0
        assert one.rss() < 90 << 20
