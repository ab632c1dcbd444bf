"""Publishing to registries that misbehave: right reason, bounded time, every tag or none."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
import pytest
from builds import REGISTRY, Builds, nomad_job_id
from fault_proxy import Fault, FaultProxy, fault_times, proxy

pytestmark = pytest.mark.slow

TAGS = ["v1", "latest"]
OCI = "application/vnd.oci.image.manifest.v1+json"


def through_proxy(builds: Builds, **fields: Any) -> dict[str, Any]:
    """A request that publishes through the place of the proxy."""
    registry = builds.cluster.registry
    path = f"t{uuid.uuid4().hex[:10]}"
    return builds.request(
        builds.dockerfile(),
        **{
            "registry_url": f"{registry.proxy_host}/{path}",
            "image_name": None,
            "image_tags": TAGS,
            **fields,
        },
    )


def serve(builds: Builds, faults: FaultProxy) -> Any:
    registry = builds.cluster.registry
    return proxy(registry.proxy_host, registry.host, faults)


def ended(builds: Builds, request: dict[str, Any], status: str) -> dict[str, Any]:
    found = builds.run(request, status)
    builds.assert_clean(builds.await_end(nomad_job_id(found["job_id"]))["ID"])
    return found


def log(builds: Builds, build: dict[str, Any]) -> str:
    return "\n".join(builds.logs(build["job_id"])["publish"])


@pytest.mark.parametrize(
    ("fault", "method", "part"),
    [
        (500, "POST", "/blobs/uploads/"),
        (503, "PUT", "/manifests/v1"),
        (502, "PUT", "/manifests/sha256"),
        (500, "PATCH", "/blobs/uploads/"),
        ("reset", "PUT", "/manifests/latest"),
        ("half", "PATCH", "/blobs/uploads/"),
    ],
)
def test_what_passes_is_tried_again(builds: Builds, fault: Fault, method: str, part: str) -> None:
    request = through_proxy(builds)
    with serve(builds, FaultProxy(fault_times(2, fault, method, part))) as faults:
        build = ended(builds, request, "SUCCEEDED")
    assert len(faults.faults) == 2
    assert builds.tags(request) == sorted(TAGS)
    assert {builds.digest(request, tag) for tag in TAGS} == {build["digest"]}
    assert {(one["state"], one["digest"]) for one in build["tags"]} == {
        ("published", build["digest"])
    }
    # Buildah tries again within a push of its own accord, and says so in its own words.
    assert "failed: " in log(builds, build) or "retrying" in log(builds, build), log(builds, build)


def test_the_pause_that_a_registry_asks_for_is_kept(builds: Builds) -> None:
    request = through_proxy(builds)
    faults = FaultProxy(fault_times(1, 429, "PUT", "/manifests/v1"), retry_after="4")
    with serve(builds, faults):
        build = ended(builds, request, "SUCCEEDED")
    assert "answered 429" in log(builds, build)
    assert "again in 4.0 s" in log(builds, build)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "RegistryAuthenticationFailed"), (403, "RegistryAuthenticationFailed")],
)
def test_a_refusal_is_not_tried_again(builds: Builds, status: int, reason: str) -> None:
    request = through_proxy(builds)
    refuse = fault_times(99, status, "POST", "/blobs/uploads/")
    with serve(builds, FaultProxy(refuse)) as faults:
        build = ended(builds, request, "FAILED")
    assert build["failure"]["reason"] == reason, build["failure"]
    assert not build["failure"]["retryable"]
    # Without and with the credential.
    assert len(faults.faults) == (2 if status == 401 else 1)
    assert builds.tags(request) == []


def test_a_manifest_that_is_refused_is_not_tried_again(builds: Builds) -> None:
    request = through_proxy(builds)
    with serve(builds, FaultProxy(fault_times(99, 400, "PUT", "/manifests/v1"))) as faults:
        build = ended(builds, request, "FAILED")
    assert build["failure"]["reason"] == "PublishFailed", build["failure"]
    assert "no tag was changed" in build["failure"]["message"]
    assert len(faults.faults) == 1


def test_a_registry_that_is_away_fails_in_bounded_time(builds: Builds) -> None:
    request = through_proxy(builds)
    begun = time.monotonic()
    build = ended(builds, request, "FAILED")
    assert time.monotonic() - begun < 60
    assert build["failure"]["reason"] == "RegistryUnavailable", build["failure"]
    assert build["failure"]["retryable"]
    assert "5 tries" in build["failure"]["message"]
    assert "try 4 of 5 failed" in log(builds, build)


def test_a_later_tag_that_fails_takes_back_the_others(builds: Builds) -> None:
    """One tag is new, one named another image: both are as before."""
    before = builds.request(builds.dockerfile("RUN echo before > /mark"), image_tags=["moved"])
    old = builds.run(before, "SUCCEEDED")
    path = before["registry_url"].partition("/")[2] + "/app"
    request = through_proxy(
        builds,
        registry_url=f"{builds.cluster.registry.proxy_host}/{path}",
        image_tags=["new", "moved", "refused"],
    )
    with serve(builds, FaultProxy(fault_times(99, 403, "PUT", "/manifests/refused"))):
        build = ended(builds, request, "FAILED")
    assert build["failure"]["reason"] == "RegistryAuthenticationFailed", build["failure"]
    assert "no tag was changed" in build["failure"]["message"]
    states = {one["reference"].rpartition(":")[2]: one["state"] for one in build["tags"]}
    assert states == {"new": "removed", "moved": "restored", "refused": "untouched"}
    assert build["references"] == []
    assert builds.cluster.registry.digest(path, "moved") == old["digest"]
    there = builds.cluster.registry.tags(path)
    assert [tag for tag in there if not tag.startswith("sha256-")] == ["moved"]
    # What was pushed by digest is still there for who knows it: nobody's manifest was deleted.
    registry = builds.cluster.registry
    found = httpx.get(
        f"{registry.address}/v2/{path}/manifests/{build['digest']}",
        auth=(registry.username, registry.password),
        headers={"Accept": OCI},
    )
    assert found.status_code == 200


def test_what_cannot_be_taken_back_is_named(builds: Builds) -> None:
    request = through_proxy(builds)

    def decide(method: str, path: str, n: int) -> Fault:
        if method == "DELETE" and "/manifests/" in path:
            return 405
        return 403 if (method, path.endswith("/manifests/latest")) == ("PUT", True) else None

    with serve(builds, FaultProxy(decide)):
        build = ended(builds, request, "FAILED")
    states = {one["reference"].rpartition(":")[2]: one["state"] for one in build["tags"]}
    assert states == {"v1": "left", "latest": "untouched"}
    assert f"{request['registry_url']}:v1 (left" in build["failure"]["message"]


def moving(builds: Builds, request: dict[str, Any], digest: str) -> FaultProxy:
    """Give tag v1 to another image of the repository right after the build has given it."""
    registry = builds.cluster.registry
    path = request["registry_url"].partition("/")[2]
    manifests = f"{registry.address}/v2/{path}/manifests"
    auth = (registry.username, registry.password)
    moves: list[int] = []

    def decide(method: str, asked: str, _: int) -> Fault:
        given = asked.endswith("/manifests/v1") and faults.seen["PUT", asked]
        if method == "GET" and given and not moves:
            there = httpx.get(f"{manifests}/{digest}", auth=auth, headers={"Accept": OCI})
            kind = {"Content-Type": there.headers["content-type"]}
            put = httpx.put(f"{manifests}/v1", auth=auth, content=there.content, headers=kind)
            moves.append(put.raise_for_status().status_code)
        return None

    faults = FaultProxy(decide)
    return faults


@pytest.mark.parametrize("tag", ["other", "v1"])
def test_a_tag_that_somebody_moves_at_the_same_moment_was_given(builds: Builds, tag: str) -> None:
    """Two builds of a branch: both have published. A registry that keeps the old one has not."""
    before = builds.request(builds.dockerfile("RUN echo before > /mark"), image_tags=[tag])
    other = builds.run(before, "SUCCEEDED")["digest"]
    path = before["registry_url"].partition("/")[2] + "/app"
    request = through_proxy(builds, registry_url=f"{builds.cluster.registry.proxy_host}/{path}")
    stale = tag == "v1"
    with serve(builds, moving(builds, request, other)):
        build = ended(builds, request, "FAILED" if stale else "SUCCEEDED")
    tags = {one["reference"].rpartition(":")[2]: one for one in build["tags"]}
    assert builds.cluster.registry.digest(path, "v1") == other
    assert tags["v1"]["digest"] == other != build["digest"]
    if stale:
        assert build["failure"]["reason"] == "DigestMismatch", build["failure"]
        assert (tags["v1"]["state"], tags["latest"]["state"]) == ("untouched", "untouched")
        assert build["references"] == []
    else:
        assert (tags["v1"]["state"], tags["latest"]["state"]) == ("moved", "published")
        assert build["references"] == [f"{request['registry_url']}:{name}" for name in TAGS]
        assert f"somebody has moved the tag to {other}" in log(builds, build)


def test_several_repositories_get_the_same_digest_or_none(builds: Builds) -> None:
    registry = builds.cluster.registry
    one, two = (f"{registry.host}/more{uuid.uuid4().hex[:8]}/app" for _ in range(2))
    request = builds.request(
        builds.dockerfile("RUN echo several > /mark"),
        additional_repositories=[
            {"image": name, "registry_credentials_path": REGISTRY} for name in (one, two)
        ],
        image_tags=TAGS,
    )
    build = ended(builds, request, "SUCCEEDED")
    for name in (one, two):
        for tag in TAGS:
            assert registry.digest(name.partition("/")[2], tag) == build["digest"]
    assert len(build["references"]) == 6
    refused = request | {
        "additional_repositories": [{"image": f"{registry.host}/no{uuid.uuid4().hex[:8]}/app"}],
        "image_tags": ["never"],
    }
    failed = ended(builds, refused, "FAILED")
    assert failed["failure"]["reason"] == "RegistryAuthenticationFailed", failed["failure"]
    assert "never" not in builds.tags(request)


def test_additional_repositories_are_validated_like_the_first(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile(),
        additional_repositories=[
            {"image": "no-host/app"},
            {
                "image": f"{builds.cluster.registry.host}/x",
                "registry_credentials_path": "secret/nomad-build-service/registry/nobody",
            },
        ],
    )
    answer = builds.http.post("/mcp/submitJob", json={"job_config": request})
    assert [one["field"] for one in answer.json()["problems"]] == [
        "additional_repositories[0].image"
    ], answer.text
    request["additional_repositories"].pop(0)
    answer = builds.http.post("/mcp/submitJob", json={"job_config": request})
    assert [one["field"] for one in answer.json()["problems"]] == [
        "additional_repositories[0].registry_credentials_path"
    ], answer.text


def test_a_push_that_stalls_is_broken_off(builds: Builds) -> None:
    builds = Builds(builds.cluster, builds.cluster.pack.deploy({"registry_stall_timeout": 3}))
    request = through_proxy(builds)
    try:
        with serve(builds, FaultProxy(fault_times(99, "stall", "PATCH", "/blobs/uploads/"))):
            begun = time.monotonic()
            build = ended(builds, request, "FAILED")
            assert time.monotonic() - begun < 90
    finally:
        builds.cluster.pack.deploy()
    assert build["failure"]["reason"] == "RegistryUnavailable", build["failure"]
    assert "did nothing for 3 s" in build["failure"]["message"]
