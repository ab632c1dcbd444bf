"""rerunPhase: the same image tested or published again, and nothing else."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, cli, eventually
from controllers import serving
from issuing import Issuer, call, give_secrets, request_of, settings_of

from cluster import skopeo
from cluster.cluster import Cluster

pytestmark = pytest.mark.slow

KEPT = "nbs/intermediate"


def ask(builds: Builds, job_id: str, phase: str, **fields: Any) -> httpx.Response:
    return builds.http.post("/mcp/rerunPhase", json={"job_id": job_id, "phase": phase, **fields})


def rerun(builds: Builds, job_id: str, phase: str, *wanted: str, **fields: Any) -> dict[str, Any]:
    """Start a rerun and wait for its end."""
    answer = ask(builds, job_id, phase, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rerun_of"] == job_id
    return builds.await_status(answer.json()["job_id"], *wanted)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 409, answer.text
    assert answer.json()["name"] == "not_repeatable"
    message: str = answer.json()["error"]
    return message


def test_a_failed_test_runs_again_on_the_same_image_and_publishes_it_when_it_passes(
    builds: Builds,
) -> None:
    """What the test waits for is a moment that lies between the build and its rerun."""
    repository = builds.dockerfile("RUN date +%N > /when")
    seconds = 15
    while True:
        moment = int(time.time()) + seconds
        test = {"commands": [f"test $(date +%s) -ge {moment}"]}
        request = builds.request(repository, test=test)
        first = builds.run(request)
        if first["status"] == "FAILED":
            break
        seconds *= 2  # the node was busy: the moment had passed before the test
    assert first["failure"]["reason"] == "TestFailed"
    eventually("the moment has come", lambda: time.time() > moment, seconds + 10)
    again = rerun(builds, first["job_id"], "test", "SUCCEEDED")
    assert again["commit"] == first["commit"]
    assert again["phases"]["test"]["status"] == "succeeded"
    assert again["steps"] == []  # nothing was built
    assert builds.digest(request, "v1") == again["digest"] == first["intermediate"]["digest"]


def test_publishing_runs_again_without_testing(builds: Builds) -> None:
    """Publishing cannot have its credential when the build ends, and can for the rerun."""
    repository = builds.dockerfile("RUN date +%N > /when")
    request = builds.request(repository, test={"commands": ["echo tested"]})
    with publishing_to_nowhere(builds):
        first = builds.run(request, "FAILED")
    assert first["failure"]["phase"] == "publish"
    assert builds.tags(request) == []
    key = uuid.uuid4().hex
    again = rerun(builds, first["job_id"], "publish", "SUCCEEDED", idempotency_key=key)
    assert again["rerun_of"] == first["job_id"]
    assert again["phases"]["test"]["status"] == "skipped"
    assert "nothing is built" in builds.text(again["job_id"])
    assert builds.digest(request, "v1") == first["intermediate"]["digest"]
    repeated = ask(builds, first["job_id"], "publish", idempotency_key=key).json()
    assert repeated["job_id"] == again["job_id"]
    assert not repeated["created"]


def test_a_published_image_is_tested_again_from_the_command_line(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo x > /x"), test={"commands": ["grep x /x"]})
    first = builds.run(request, "SUCCEEDED")
    assert first["intermediate"] is None
    done = cli(
        builds.cluster, "nbs", "rerun", "--addr", builds.address, first["job_id"], "--phase", "test"
    )
    assert done.returncode == 0, done.stderr
    again = builds.await_status(done.stdout.strip(), "SUCCEEDED")
    assert again["rerun_of"] == first["job_id"]
    assert again["digest"] == first["digest"]
    shown = cli(builds.cluster, "nbs", "status", "--addr", builds.address, again["job_id"]).stdout
    assert f"rerun of {first['job_id']}" in shown


def test_what_has_no_image_or_failed_its_tests_is_refused(builds: Builds) -> None:
    broken = builds.run(builds.request(builds.dockerfile("RUN false")), "FAILED")
    assert "has built no image" in refused(ask(builds, broken["job_id"], "test"))
    failing = builds.request(builds.dockerfile("RUN true"), test={"commands": ["false"]})
    failed = builds.run(failing, "FAILED")
    assert "cannot be published" in refused(ask(builds, failed["job_id"], "publish"))
    untested = builds.run(builds.request(builds.dockerfile("RUN true")), "SUCCEEDED")
    assert "has no tests" in refused(ask(builds, untested["job_id"], "test"))
    waiting = builds.submit({**failing, "test": {"commands": ["echo waiting; sleep 600"]}})
    builds.await_log(waiting, "waiting")
    assert "TESTING" in refused(ask(builds, waiting, "test"))
    builds.http.post("/mcp/killJob", json={"job_id": waiting}).raise_for_status()
    builds.await_status(waiting, "CANCELLED")
    assert "was not kept" in refused(ask(builds, waiting, "test"))


def test_an_image_that_is_gone_is_named(builds: Builds) -> None:
    registry = builds.cluster.registry
    request = builds.request(
        builds.dockerfile(f"RUN echo {uuid.uuid4()} > /x"), test={"commands": ["false"]}
    )
    first = builds.run(request, "FAILED")
    kept = f"{registry.host}/{KEPT}@{first['intermediate']['digest']}"
    skopeo.run(registry.credentials, "delete", "--tls-verify=false", f"docker://{kept}")
    gone = rerun(builds, first["job_id"], "test", "FAILED")
    assert gone["failure"]["reason"] == "ImageGone"
    assert first["job_id"] in gone["failure"]["message"]
    builds.http.post("/mcp/cleanup", json={"job_id": first["job_id"]}).raise_for_status()
    assert ask(builds, first["job_id"], "test").status_code == 404


def test_a_tag_that_names_another_image_now_is_not_taken(builds: Builds) -> None:
    """Somebody with the registry's password moves the tag: the digest of the record decides."""
    registry = builds.cluster.registry
    first, other = (
        builds.run(
            builds.request(
                builds.dockerfile(f"RUN echo {uuid.uuid4()} > /x"), test={"commands": ["false"]}
            ),
            "FAILED",
        )
        for _ in range(2)
    )
    skopeo.run(
        registry.credentials,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{other['intermediate']['reference']}",
        f"docker://{first['intermediate']['reference']}",
    )
    moved = rerun(builds, first["job_id"], "test", "FAILED")
    assert moved["failure"]["reason"] == "DigestMismatch"


def test_no_caller_can_name_an_image(builds: Builds) -> None:
    given = builds.request(builds.dockerfile("RUN true"))
    image = {
        "job_id": "default.image-build.1-x",
        "phase": "publish",
        "image": f"{builds.cluster.registry.host}/{KEPT}",
        "digest": f"sha256:{'0' * 64}",
        "commit": "0" * 40,
    }
    answer = builds.http.post("/mcp/submitJob", json=given | {"rerun": image})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "rerun"


def test_builds_of_others_cannot_be_rerun(
    builds: Builds, cluster: Cluster, issuer: Issuer, tmp_path: Path
) -> None:
    give_secrets(cluster, "team-a", "team-b")
    with serving(cluster, tmp_path, settings_of(issuer)) as one:
        mine, theirs = issuer.token("team-a"), issuer.token("team-b")
        request = request_of(builds, "team-a", keep_intermediate=True)
        job_id = call(one.address, "submitJob", request, mine).json()["job_id"]
        waited = {"job_id": job_id, "timeout": 45}
        assert call(one.address, "waitForJob", waited, mine).json()["status"] == "SUCCEEDED"
        again = {"job_id": job_id, "phase": "publish"}
        assert call(one.address, "rerunPhase", again, theirs).status_code == 404
        answer = call(one.address, "rerunPhase", again, mine).json()
        assert answer["rerun_of"] == job_id
        status = call(one.address, "getStatus", {"job_id": answer["job_id"]}, mine).json()
        assert status["config"]["owner"] == "team-a"


@contextmanager
def publishing_to_nowhere(builds: Builds) -> Iterator[None]:
    """Register image-build so that its publish task reads a credential that there is not."""
    job = builds.job("image-build")
    changed = copy.deepcopy(job)
    for task in changed["TaskGroups"][0]["Tasks"]:
        if task["Name"] == "publish":
            task["Env"]["NBS_VAULT_ADDR"] = "http://127.0.0.1:1"
    builds.nomad.post("/v1/jobs", json={"Job": changed}).raise_for_status()
    try:
        yield
    finally:
        builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
