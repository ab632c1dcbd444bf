"""Images that a build leaves in the private registry: which, where, and what may go wrong."""

from __future__ import annotations

import copy
import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builds import GIT, REGISTRY, Builds, eventually, nomad_job_id
from controllers import serving

from controller.contract import image_names

pytestmark = pytest.mark.slow

REPOSITORY = "nbs/intermediate"


def kept_tags(builds: Builds) -> list[str]:
    return builds.tags({"registry_url": f"{builds.cluster.registry.host}/{REPOSITORY}"})


def failure(builds: Builds, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = builds.http.post("/mcp/getFailure", json={"job_id": job_id}).json()
    return answer


def test_the_image_of_a_failed_test_is_kept_and_the_failure_says_how_to_run_it(
    builds: Builds,
) -> None:
    repository = builds.dockerfile("RUN echo inside > /word")
    request = builds.request(repository, test={"commands": ["grep -q outside /word"]})
    status = builds.run(request, "FAILED")
    job_id, host = status["job_id"], builds.cluster.registry.host
    assert status["failure"]["reason"] == "TestFailed"
    kept = status["intermediate"]
    assert kept["reference"] == image_names.intermediate(f"{host}/{REPOSITORY}", job_id)
    assert kept["pull"] == f"docker pull {host}/{REPOSITORY}@{kept['digest']}"
    assert builds.cluster.registry.digest(REPOSITORY, job_id) == kept["digest"]
    assert builds.tags(request) == []  # never under the tags of the request

    told = failure(builds, job_id)["intermediate"]
    words = shlex.split(told["run"])
    assert words[:6] == ["docker", "run", "--rm", "--network", "none", "--entrypoint"]
    program, image, *arguments = words[6:]
    assert image == f"{host}/{REPOSITORY}@{kept['digest']}"
    assert [program, *arguments] == ["/bin/sh", "-c", "grep -q outside /word"]
    # What the answer says to pull is the image, and the command fails in it as it did.
    assert builds.run_image(image, "cat", "/word") == "inside\n"
    again = builds.cluster.buildah.run_image(
        builds.cluster.registry.credentials, image, [program, *arguments]
    )
    assert again.exit_code == status["failure"]["exit_code"] == 1

    cleaned = builds.http.post("/mcp/cleanup", json={"job_id": job_id}).json()
    assert cleaned["success"], cleaned
    assert cleaned["removed"]["images"] == [kept["reference"]]
    assert job_id not in kept_tags(builds)


def test_an_image_is_kept_by_request_and_else_only_where_a_phase_failed(builds: Builds) -> None:
    repository = builds.dockerfile("RUN true")
    asked = builds.run(builds.request(repository, keep_intermediate=True), "SUCCEEDED")
    assert asked["intermediate"]["digest"] == asked["digest"]
    assert asked["job_id"] in kept_tags(builds)
    plain = builds.run(builds.request(repository), "SUCCEEDED")
    assert plain["intermediate"] is None
    assert plain["job_id"] not in kept_tags(builds)
    broken = builds.run(
        builds.request(builds.dockerfile("RUN false"), keep_intermediate=True), "FAILED"
    )
    assert broken["intermediate"] is None  # there is no image


def test_the_image_that_could_not_be_published_is_kept(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), registry_url="127.0.0.1:1/t")
    status = builds.run(request, "FAILED")
    assert status["failure"]["phase"] == "publish"
    assert status["job_id"] in kept_tags(builds)
    assert "run" not in failure(builds, status["job_id"])["intermediate"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("NBS_INTERMEDIATE_REPOSITORY", "127.0.0.1:1/nowhere", "RegistryUnavailable"),
        # Neither of these may be read by the task, though both could push here.
        ("NBS_INTERMEDIATE_CREDENTIALS_PATH", REGISTRY, "SecretRefused"),
        ("NBS_INTERMEDIATE_CREDENTIALS_PATH", GIT, "SecretRefused"),
        (
            "NBS_INTERMEDIATE_CREDENTIALS_PATH",
            "secret/nomad-build-service/intermediate/none",
            "SecretNotFound",
        ),
    ],
)
def test_a_push_that_fails_is_a_warning_and_not_the_result(
    builds: Builds, name: str, value: str, reason: str
) -> None:
    with build_job(builds, {name: value}):
        request = builds.request(builds.dockerfile("RUN true"), keep_intermediate=True)
        good = builds.run(request, "SUCCEEDED")
        assert good["intermediate"]["problem"]["reason"] == reason
        assert good["failure"] is None
        failed = builds.run({**request, "test": {"commands": ["exit 3"]}}, "FAILED")
        assert failed["failure"]["reason"] == "TestFailed"
        assert failure(builds, failed["job_id"])["intermediate"]["problem"]["reason"] == reason
    allocation = builds.await_end(nomad_job_id(failed["job_id"]))
    builds.assert_clean(allocation["ID"])


def test_the_operator_may_keep_asked_for_images_only(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), test={"commands": ["exit 3"]})
    with build_job(builds, {"NBS_KEEP_FAILED_IMAGES": "false"}):
        assert builds.run(request, "FAILED")["intermediate"] is None
        asked = builds.run({**request, "keep_intermediate": True}, "FAILED")
        assert asked["intermediate"]["digest"]


def test_a_killed_build_keeps_no_image(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"),
        keep_intermediate=True,
        test={"commands": ["echo waiting; sleep 600"]},
    )
    job_id = builds.submit(request)
    builds.await_log(job_id, "waiting")
    builds.http.post("/mcp/killJob", json={"job_id": job_id}).raise_for_status()
    assert builds.await_status(job_id, "CANCELLED")["intermediate"] is None
    assert job_id not in kept_tags(builds)


def test_kept_images_go_by_age_and_the_record_stays(builds: Builds, tmp_path: Path) -> None:
    request = builds.request(
        builds.dockerfile(f"RUN echo {uuid.uuid4()} > /x"), test={"commands": ["false"]}
    )
    job_id = builds.run(request, "FAILED")["job_id"]
    cluster = builds.cluster
    settings = {
        "NBS_INTERMEDIATE_REPOSITORY": f"{cluster.registry.host}/{REPOSITORY}",
        "NBS_INTERMEDIATE_RETENTION": "1s",
        "NBS_RETENTION_INTERVAL": "0.5",
    }
    assert job_id in kept_tags(builds)
    with serving(cluster, tmp_path, settings):
        eventually("the old image is gone", lambda: job_id not in kept_tags(builds), 90)
    assert builds.status(job_id)["status"] == "FAILED"


@contextmanager
def build_job(builds: Builds, env: dict[str, str]) -> Iterator[None]:
    """Register image-build with another environment of its last tasks for a while."""
    job = builds.job("image-build")
    changed = copy.deepcopy(job)
    for task in changed["TaskGroups"][0]["Tasks"]:
        if task["Name"] in ("keep", "finish"):
            task["Env"] |= {name: env[name] for name in env if name in task["Env"]}
    builds.nomad.post("/v1/jobs", json={"Job": changed}).raise_for_status()
    try:
        yield
    finally:
        builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
