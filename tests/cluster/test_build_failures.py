"""Builds that fail: each with its phase and reason, nothing published, nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, nomad_job_id

NO_SECRET = "secret/nomad-build-service/git/none"


def check(builds: Builds, request: dict[str, Any], phase: str, reason: str) -> dict[str, Any]:
    status = builds.run(request, "FAILED")
    failure: dict[str, Any] = status["failure"]
    assert (failure["phase"], failure["reason"]) == (phase, reason), failure
    assert failure["message"]
    assert failure["hint"]
    assert failure["fix_owner"] in ("author", "operator", "transient")
    assert builds.tags(request) == []
    allocation = builds.await_end(nomad_job_id(status["job_id"]))
    builds.assert_clean(allocation["ID"])
    return failure


def test_failing_run_step(builds: Builds) -> None:
    repository = builds.dockerfile(
        "RUN echo fine", "# a comment", "RUN echo broken \\", "  && exit 42"
    )
    failure = check(builds, builds.request(repository), "build", "RunFailed")
    assert failure["exit_code"] == 42
    assert failure["dockerfile_line"] == 4
    assert failure["command"] == "echo broken && exit 42"
    assert "broken" in failure["log_tail"]


def test_missing_dockerfile(builds: Builds) -> None:
    repository = builds.repository({"README": "nothing to build"})
    failure = check(builds, builds.request(repository), "build", "DockerfileNotFound")
    assert "Dockerfile" in failure["message"]


def test_unknown_ref(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), git_ref="no-such-branch")
    assert "no-such-branch" in check(builds, request, "build", "GitRefNotFound")["message"]


def test_refused_git_login(builds: Builds) -> None:
    builds.cluster.vault_put(
        "nomad-build-service/git/wrong", {"username": "nobody", "password": "not-the-password"}
    )
    request = builds.request(
        builds.dockerfile("RUN true"), git_credentials_path="secret/nomad-build-service/git/wrong"
    )
    check(builds, request, "build", "GitAuthenticationFailed")
    assert "not-the-password" not in builds.text(builds.submitted[-1])


def test_refused_registry_login(builds: Builds) -> None:
    builds.cluster.vault_put(
        "nomad-build-service/registry/wrong", {"username": "nobody", "password": "not-the-password"}
    )
    request = builds.request(
        builds.dockerfile("RUN true"),
        registry_credentials_path="secret/nomad-build-service/registry/wrong",
    )
    check(builds, request, "publish", "RegistryAuthenticationFailed")


def test_failing_test_command(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"), test_commands=["true", "echo seen; exit 3", "echo never"]
    )
    failure = check(builds, request, "test", "TestFailed")
    assert failure["exit_code"] == 3
    assert failure["command"] == "echo seen; exit 3"
    assert not any(
        "never" in line.rpartition(" ")[2] for line in builds.logs(builds.submitted[-1])["test"]
    )


def test_test_program_that_is_not_there(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"), test={"commands": [["/no/such/program"]]}
    )
    check(builds, request, "test", "TestCommandNotFound")


def test_build_over_its_time(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo quick", "RUN sleep 300"), build_timeout=12)
    failure = check(builds, request, "build", "BuildTimeout")
    assert "timed out after 12s in step 3/4" in failure["message"]
    assert failure["dockerfile_line"] == 3


def test_test_over_its_time(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"), test_commands=["sleep 300 & sleep 300"], test_timeout=2
    )
    failure = check(builds, request, "test", "TestTimeout")
    assert "timed out after 2s in test 1/1" in failure["message"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("COPY missing /x", "CopyFailed"),
        ("RUNN true", "DockerfileInvalid"),
        ("COPY --from=oci:/etc / /", "DockerfileRefused"),
        ("COPY --from=127.0.0.1:1/gone:1 / /", "BaseImageUnavailable"),
    ],
)
def test_dockerfile_at_fault(builds: Builds, line: str, reason: str) -> None:
    failure = check(builds, builds.request(builds.dockerfile(line)), "build", reason)
    if reason != "BaseImageUnavailable":
        assert failure["dockerfile_line"] == 2


def test_context_that_is_no_directory(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), context_path="nowhere")
    check(builds, request, "build", "DockerfileNotFound")


def test_links_out_of_the_repository_lead_nowhere(builds: Builds, tmp_path: Path) -> None:
    """A planted link to a file of the node: as Dockerfile, as context, and copied."""
    (tmp_path / "Dockerfile").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("/etc")
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "Copying").write_text(
        f"FROM {builds.cluster.base_image}\nCOPY link /copied\nRUN ! cat /copied\n"
    )
    repository = builds.cluster.create_git_repository("links", tmp_path)
    failure = check(builds, builds.request(repository), "build", "DockerfileRefused")
    assert "root:" not in str(failure)
    request = builds.request(repository, context_path="up", dockerfile_path="Copying")
    check(builds, request, "build", "DockerfileRefused")
    status = builds.run(builds.request(repository, dockerfile_path="Copying"))
    assert status["status"] == "SUCCEEDED" or status["failure"]["reason"] == "CopyFailed", status


def test_base_image_that_does_not_exist(builds: Builds) -> None:
    repository = builds.repository(
        {"Dockerfile": f"FROM {builds.cluster.registry.host}/base/none:1\n"}
    )
    check(builds, builds.request(repository), "build", "BaseImageNotFound")


def test_secret_that_is_missing_or_refused_by_hand(builds: Builds) -> None:
    """The controller refuses such paths before dispatch; a dispatch by hand learns it at once."""
    repository = builds.dockerfile("RUN true")
    for path, reason in (
        (NO_SECRET, "SecretNotFound"),
        ("secret/nomad-build-service/registry/demo", "SecretRefused"),
    ):
        child = builds.dispatch(builds.request(repository, git_credentials_path=path))
        allocation = builds.await_end(child)
        outcome = builds.file(allocation["ID"], "finish/local/outcome.json")
        assert f'"{reason}"' in outcome
        builds.assert_clean(allocation["ID"])


@pytest.mark.slow
def test_disk_floor_ends_a_build_before_the_disk_is_full(builds: Builds) -> None:
    """The floor lies above what is free: no build needs to fill a disk to see it hold."""
    free = shutil.disk_usage(builds.cluster.state.root).free >> 20
    builds.cluster.pack.deploy({"disk_floor_mb": free + 10_000})
    try:
        again = Builds(builds.cluster, builds.cluster.pack.wait_healthy())
        failure = check(again, again.request(again.dockerfile("RUN true")), "build", "OutOfDisk")
        assert failure["fix_owner"] == "operator"
    finally:
        builds.cluster.pack.deploy()
