"""checkJob: everything that would go wrong, said before anything is built."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import GIT, GIT_SSH, REGISTRY, Builds
from controllers import serving

from cluster.cluster import Cluster

NAMES = [
    "request",
    "build_class",
    "placement",
    "git_credentials",
    "registry_credentials",
    "build_secrets",
    "webhook",
    "git_ref",
    "dockerfile",
    "push",
]


def check(builds: Builds, request: dict[str, Any], address: str = "") -> dict[str, Any]:
    answer = httpx.post(f"{address or builds.address}/mcp/checkJob", json=request, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def of(found: dict[str, Any], name: str) -> dict[str, Any]:
    checks: list[dict[str, Any]] = [one for one in found["checks"] if one["name"] == name]
    assert len(checks) == 1, found
    return checks[0]


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["status"] for one in found["checks"]}


def test_a_good_request_passes_and_leaves_nothing(builds: Builds) -> None:
    repository = builds.dockerfile("COPY app /app", app="x")
    request = builds.request(repository)
    began = time.monotonic()
    found = check(builds, request)
    took = time.monotonic() - began
    assert found["ok"], found
    assert statuses(found) == dict.fromkeys(NAMES, "passed") | {
        "build_secrets": "skipped",
        "webhook": "skipped",
    }
    assert [one["name"] for one in found["checks"]] == NAMES
    assert found["commit"] in of(found, "git_ref")["message"]
    assert found["build_class"] == "default"
    assert found["dockerfile"]["base_images"] == [builds.cluster.base_image]
    assert took < 20
    assert builds.tags(request) == []
    jobs = builds.nomad.get("/v1/jobs", params={"prefix": "image-check/"}).json()
    assert jobs == []
    assert builds.run(request, "SUCCEEDED")["commit"] == found["commit"]


def test_public_and_ssh_repositories(builds: Builds) -> None:
    files = {"Dockerfile": f"FROM {builds.cluster.base_image}\n"}
    public = builds.repository(files, private=False)
    found = check(builds, builds.request(public, git_credentials_path=None))
    assert found["ok"], found
    assert of(found, "git_credentials")["status"] == "skipped"
    private = builds.repository(files)
    request = builds.request(private, repo_url=private.ssh_url, git_credentials_path=GIT_SSH)
    assert check(builds, request)["ok"]


def test_every_mistake_of_the_request_is_told_at_once(builds: Builds) -> None:
    found = check(builds, {"owner": "", "repo_url": "file:///etc", "image_tgas": ["x"]})
    fields = {one["field"] for one in found["checks"] if one["name"] == "request"}
    assert fields == {"owner", "repo_url", "registry_url", "image_tgas"}
    assert not found["ok"]
    assert statuses(found)["push"] == "skipped"


def test_mistakes_of_different_kinds_are_told_together(builds: Builds) -> None:
    repository = builds.dockerfile("RUM make", "COPY missing /")
    wrong = f"nomad-build-service/registry/wrong-{uuid.uuid4().hex[:6]}"
    builds.cluster.vault_put(wrong, {"username": "builder", "password": "not-the-password"})
    request = builds.request(repository, registry_credentials_path=f"secret/{wrong}")
    found = check(builds, request)
    assert not found["ok"]
    told = [one for one in found["checks"] if one["status"] == "failed"]
    assert [(one["name"], one["line"]) for one in told] == [
        ("dockerfile", 2),
        ("dockerfile", 3),
        ("push", None),
    ]
    assert "RegistryAuthenticationFailed" in told[2]["message"]
    assert "not-the-password" not in json.dumps(found)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"git_ref": "no-such-branch"}, "git_ref", "GitRefNotFound"),
        ({"dockerfile_path": "Missing"}, "dockerfile", "DockerfileNotFound"),
        ({"context_path": "nowhere"}, "dockerfile", "DockerfileNotFound"),
        ({"target": "nothing"}, "dockerfile", "no stage"),
        ({"git_credentials_path": REGISTRY}, "git_ref", "SecretRefused"),
        (
            {"git_credentials_path": "secret/nomad-build-service/git/nobody"},
            "git_credentials",
            "no secret",
        ),
        ({"registry_credentials_path": None}, "push", "without credential"),
        ({"class": "huge"}, "build_class", "not a build class"),
    ],
)
def test_what_is_wrong_is_named(
    builds: Builds, change: dict[str, Any], name: str, words: str
) -> None:
    found = check(builds, builds.request(builds.dockerfile(), **change))
    one = of(found, name)
    assert (one["status"], not found["ok"]) == ("failed", True), found
    assert words in one["message"]
    assert one["fix"]


def test_a_base_image_that_is_not_there_is_named_with_its_line(builds: Builds) -> None:
    missing = f"{builds.cluster.registry.host}/base/none:1"
    target = builds.repository({"Dockerfile": f"# first\nFROM {missing}\n"})
    one = of(check(builds, builds.request(target)), "dockerfile")
    assert (one["status"], one["line"]) == ("failed", 2)
    assert missing in one["message"]
    assert "BaseImageNotFound" in one["message"]


def test_a_wrong_git_password(builds: Builds) -> None:
    path = f"nomad-build-service/git/wrong-{uuid.uuid4().hex[:6]}"
    builds.cluster.vault_put(path, {"username": "git", "password": "not-the-password"})
    request = builds.request(builds.dockerfile(), git_credentials_path=f"secret/{path}")
    found = check(builds, request)
    assert "GitAuthenticationFailed" in of(found, "git_ref")["message"]
    assert of(found, "dockerfile")["status"] == "skipped"
    assert "not-the-password" not in json.dumps(found)


def test_hostile_strings_do_nothing(builds: Builds) -> None:
    for change in (
        {"git_ref": "--upload-pack=touch /tmp/x"},
        {"dockerfile_path": "../../etc/passwd"},
        {"repo_url": "https://user:secret@host/x"},
        {"registry_url": "registry/$(id)"},
    ):
        found = check(builds, builds.request(builds.dockerfile(), **change))
        assert of(found, "request")["status"] == "failed"
        assert "secret@" not in json.dumps(found)
    target = builds.repository({"Dockerfile": "FROM oci:/etc\n"})
    assert "DockerfileRefused" in of(check(builds, builds.request(target)), "dockerfile")["message"]


def test_a_deployment_without_the_job_or_vault_says_so(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    settings = {"NBS_NAME_PREFIX": "absent-", "VAULT_ADDR": ""}
    with serving(cluster, tmp_path, settings) as one:
        found = check(
            builds, builds.request(builds.dockerfile(), git_credentials_path=GIT), one.address
        )
    assert not found["ok"]
    assert of(found, "placement")["status"] == "failed"
    assert "absent-image-build" in of(found, "placement")["message"]
    assert statuses(found)["git_credentials"] == "skipped"
    assert "image-check" in of(found, "push")["message"]
