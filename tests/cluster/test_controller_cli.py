"""`nbs` against a real controller: options, output, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds
from controllers import REPOSITORY, Serving, serving

from cluster.cluster import Cluster


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    with serving(cluster, tmp_path_factory.mktemp("controller")) as one:
        yield one


def nbs(
    *arguments: str, address: str = "", stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "NBS_ADDR": address,
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-m", "controller", *arguments],
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_submit_from_a_file_and_watch(builds: Builds, served: Serving, tmp_path: Path) -> None:
    request = builds.request(builds.dockerfile("RUN echo from-$(echo build)"))
    file = tmp_path / "build.json"
    file.write_text(json.dumps(request))
    done = nbs(
        "submit",
        str(file),
        "--watch",
        "--image-tag",
        "v1",
        "--image-tag",
        "v2",
        "--test-command",
        "echo tested",
        "--label",
        "com.example.a=b",
        address=served.address,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  build | from-build" in done.stdout
    assert "   test | tested" in done.stdout
    assert done.stdout.count("phase publish succeeded") == 1
    assert f"app:v2@{builds.digest(request, 'v2')}" in done.stdout
    assert builds.config(request, "v1")["config"]["Labels"]["com.example.a"] == "b"


def test_a_failed_build_is_exit_code_1_and_says_why(builds: Builds, served: Serving) -> None:
    request = builds.request(builds.dockerfile("RUN echo about-to-fail; exit 7"))
    done = nbs("submit", "-", "-w", "--json", address=served.address, stdin=json.dumps(request))
    assert done.returncode == 1
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["failure"]["reason"] == "RunFailed"
    job_id = events[-1]["job_id"]
    status = nbs("status", job_id, address=served.address)
    assert status.returncode == 1
    assert "build RunFailed" in status.stdout
    assert "about-to-fail" in nbs("logs", job_id, "--phase", "build", address=served.address).stdout
    followed = nbs("logs", "-f", job_id, address=served.address)
    assert followed.returncode == 1
    assert "about-to-fail" in followed.stdout
    killed = nbs("kill", job_id, address=served.address)
    assert (killed.returncode, "ended already" in killed.stdout) == (1, True)


def test_kill(builds: Builds, served: Serving) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile("RUN echo begun; sleep 60")))
    builds.await_log(job_id, "begun")
    assert nbs("kill", job_id, address=served.address).returncode == 0
    builds.await_status(job_id, "CANCELLED")


def test_a_wrong_request_is_refused_here_with_every_problem(served: Serving) -> None:
    done = nbs(
        "submit", "--owner", "x", "--repo-url=-x", "--git-ref", "a b", address=served.address
    )
    assert done.returncode == 2
    for field in ("repo_url", "git_ref", "registry_url"):
        assert field in done.stderr
    assert nbs("submit", "/no/such/file", address=served.address).returncode == 2


def test_other_exit_codes(served: Serving) -> None:
    assert nbs("status", "default.image-build.1-x", address=served.address).returncode == 4
    gone = nbs("status", "default.image-build.1-x", address="http://127.0.0.1:9")
    assert gone.returncode == 3
    assert "http://127.0.0.1:9" in gone.stderr


def test_the_controller_is_found_in_consul(builds: Builds, cluster: Cluster) -> None:
    consul = {
        "CONSUL_HTTP_ADDR": cluster.consul.address.removeprefix("http://"),
        "CONSUL_HTTP_TOKEN": cluster.consul.management_token,
    }
    done = nbs("status", "default.image-build.1-x", **consul)
    assert done.returncode == 4, done.stderr
    nobody = nbs("status", "x", **consul, NBS_NAME_PREFIX="other-")
    assert nobody.returncode == 3
    assert "other-nomad-build-service" in nobody.stderr
