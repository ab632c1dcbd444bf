"""promoteImage: further tags and copies of what a build published, by digest."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
from builds import REGISTRY, Builds

from cluster.cluster import Cluster


def promote(builds: Builds, **document: Any) -> httpx.Response:
    return builds.http.post("/mcp/promoteImage", json=document, timeout=60)


@pytest.fixture(scope="module")
def built(cluster: Cluster, controller_address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request and the build that it gave."""
    builds = Builds(cluster, cluster.pack.wait_healthy())
    request = builds.request(builds.dockerfile())
    return request, builds.run(request, "SUCCEEDED")


def test_a_build_gets_further_tags_by_its_digest(
    builds: Builds, built: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    request, build = built
    answer = promote(builds, job_id=build["job_id"], tags=["stable", "1.0", "stable"])
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["status"] == "SUCCEEDED", found
    assert found["references"] == [f"{build['image']}:{tag}" for tag in ("stable", "1.0")]
    for tag in ("stable", "1.0"):
        assert builds.digest(request, tag) == build["digest"]
    again = promote(builds, promotion_id=found["promotion_id"])
    assert again.json() == found


def test_an_image_is_copied_by_its_digest(
    builds: Builds, built: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    _, build = built
    elsewhere = f"{builds.cluster.registry.host}/promoted/{uuid.uuid4().hex[:8]}"
    answer = promote(
        builds,
        image=build["image"],
        digest=build["digest"],
        tags=["v1"],
        destination=elsewhere,
        registry_credentials_path=REGISTRY,
        destination_credentials_path=REGISTRY,
    )
    assert answer.json()["status"] == "SUCCEEDED", answer.text
    assert answer.json()["references"] == [f"{elsewhere}:v1"]
    repository = elsewhere.partition("/")[2]
    assert builds.cluster.registry.digest(repository, "v1") == build["digest"]


def test_a_key_names_one_promotion(
    builds: Builds, built: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    _, build = built
    key = uuid.uuid4().hex
    asked = {"job_id": build["job_id"], "idempotency_key": key}
    first = promote(builds, **asked, tags=["a"], timeout=0).json()
    second = promote(builds, **asked, tags=["a"]).json()
    assert first["promotion_id"] == second["promotion_id"]
    assert second["status"] == "SUCCEEDED"
    other = promote(builds, **asked, tags=["b"])
    assert (other.status_code, other.json()["name"]) == (409, "idempotency_conflict")


def test_a_refused_promotion_says_why(
    builds: Builds, built: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    _, build = built
    path = f"secret/nomad-build-service/registry/wrong-{uuid.uuid4().hex[:6]}"
    builds.cluster.vault_put(
        path.removeprefix("secret/"), {"username": "builder", "password": "wrong-password"}
    )
    asked = {"image": build["image"], "digest": build["digest"], "tags": ["x"]}
    wrong = promote(builds, **asked, registry_credentials_path=path).json()
    assert (wrong["status"], wrong["failure"]["reason"]) == (
        "FAILED",
        "RegistryAuthenticationFailed",
    ), wrong
    assert "wrong-password" not in json.dumps(wrong)
    missing = promote(
        builds,
        **asked | {"digest": f"sha256:{'0' * 64}"},
        registry_credentials_path=REGISTRY,
    ).json()
    assert missing["status"] == "FAILED", missing
    assert missing["failure"]["message"]


def test_wrong_promotions_are_refused_with_every_field(builds: Builds) -> None:
    answer = promote(builds, digest="sha256:short", tags=["bad tag"], destination="-x", timeout=99)
    assert answer.status_code == 422, answer.text
    fields = {problem["field"] for problem in answer.json()["problems"]}
    assert fields == {"digest", "tags[0]", "destination", "timeout"}
    together = promote(builds, job_id="default.image-build.x", image="r.example/a", tags=[])
    assert {one["field"] for one in together.json()["problems"]} == {"image", "tags"}
    for unknown in ("default.image-promote.none", "default.image-build.none"):
        assert promote(builds, promotion_id=unknown).status_code == 404
    assert promote(builds, promotion_id="?").status_code == 400
    path = promote(
        builds,
        image="r.example/a",
        digest=f"sha256:{'0' * 64}",
        tags=["x"],
        registry_credentials_path="secret/nomad-build-service/registry/nobody",
    )
    assert path.json()["problems"][0]["field"] == "registry_credentials_path"


def test_a_build_without_an_image_cannot_be_promoted(builds: Builds) -> None:
    status = builds.run(builds.request(builds.dockerfile("RUN false")), "FAILED")
    answer = promote(builds, job_id=status["job_id"], tags=["x"])
    assert (answer.status_code, answer.json()["name"]) == (409, "not_published")
