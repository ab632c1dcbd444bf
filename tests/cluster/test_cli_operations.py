"""The commands for checking, waiting, diagnosing, listing, promoting and cleaning up."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from builds import Builds
from controllers import REPOSITORY
from test_controller_cli import nbs

from cluster.cluster import Cluster


@pytest.fixture(scope="module")
def ended(cluster: Cluster, controller_address: str) -> tuple[dict[str, Any], str, str]:
    """A request, the job_id of its build, and that of one which failed."""
    builds = Builds(cluster, cluster.pack.wait_healthy())
    request = builds.request(builds.dockerfile("RUN echo a-line-to-find"))
    good = builds.run(request, "SUCCEEDED")["job_id"]
    bad = builds.request(builds.dockerfile("RUN echo fatal: broken && exit 3"))
    return request, good, builds.run(bad, "FAILED")["job_id"]


def test_check(builds: Builds, tmp_path: Path) -> None:
    file = tmp_path / "build.json"
    file.write_text(json.dumps(builds.request(builds.dockerfile())))
    done = nbs("check", str(file), address=builds.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok: it can be built\n")
    bad = nbs("check", str(file), "--git-ref", "nowhere", address=builds.address)
    assert bad.returncode == 1
    assert "failed   git_ref" in bad.stdout
    assert "GitRefNotFound" in bad.stdout
    told = nbs("check", str(file), "--json", address=builds.address)
    assert json.loads(told.stdout)["ok"]


def test_wait(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN sleep 2"))
    job_id = builds.submit(request)
    soon = nbs("wait", job_id, "--timeout", "0", address=builds.address)
    assert soon.returncode == 6, soon.stdout + soon.stderr
    done = nbs("wait", job_id, address=builds.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"app:v1@{builds.digest(request, 'v1')}" in done.stdout
    told = json.loads(nbs("wait", job_id, "--json", address=builds.address).stdout)
    assert told["final"]


def test_failure(builds: Builds, ended: tuple[dict[str, Any], str, str]) -> None:
    _, good, bad = ended
    done = nbs("failure", bad, address=builds.address)
    assert done.returncode == 1
    assert done.stdout.startswith("build RunFailed at line 2, exit code 3\n")
    assert "fatal: broken" in done.stdout
    fine = nbs("failure", good, address=builds.address)
    assert (fine.returncode, fine.stdout) == (
        0,
        "SUCCEEDED: nothing to mend: the build succeeded\n",
    )


def test_logs(builds: Builds, ended: tuple[dict[str, Any], str, str]) -> None:
    _, good, _ = ended
    found = nbs(
        "logs", good, "--search", "^a-line", "--context", "0", "--phase", "build",
        address=builds.address,
    )  # fmt: skip
    assert found.stdout.rpartition(":")[2] == "a-line-to-find\n"
    some = nbs("logs", good, "--from-start", "--max-tokens", "100", address=builds.address)
    assert "nbs: cursor " in some.stderr
    cursor = some.stderr.strip().rpartition(" ")[2]
    rest = nbs("logs", good, "--after", cursor, address=builds.address)
    whole = nbs("logs", good, address=builds.address)
    assert some.stdout + rest.stdout == whole.stdout
    bad = nbs("logs", good, "--search", "(", address=builds.address)
    assert bad.returncode == 2
    assert "search:" in bad.stderr


def test_history(builds: Builds, ended: tuple[dict[str, Any], str, str]) -> None:
    request, good, bad = ended
    done = nbs("history", "--owner", request["owner"], address=builds.address)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert good in line
    assert "SUCCEEDED" in line
    failed = nbs("history", "--status", "failed", "--since", "1h", "--json", address=builds.address)
    assert bad in [job["job_id"] for job in json.loads(failed.stdout)["jobs"]]
    pages = nbs("history", "--limit", "1", "--all", "--json", address=builds.address)
    found = [json.loads(page)["jobs"] for page in pages.stdout.splitlines()]
    assert {good, bad} <= {job["job_id"] for jobs in found for job in jobs}
    assert nbs("history", "--since", "soon", address=builds.address).returncode == 2


def test_promote(builds: Builds, ended: tuple[dict[str, Any], str, str]) -> None:
    request, good, bad = ended
    done = nbs("promote", good, "--tag", "stable", "--tag", "1", address=builds.address)
    assert done.returncode == 0, done.stderr
    digest = builds.digest(request, "stable")
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == [
        f"app:stable@{digest}",
        f"app:1@{digest}",
    ]
    assert nbs("promote", bad, "--tag", "x", address=builds.address).returncode == 2
    assert nbs("promote", good, address=builds.address).returncode == 2


def test_cleanup(builds: Builds) -> None:
    job_id = builds.run(builds.request(builds.dockerfile()), "SUCCEEDED")["job_id"]
    unasked = nbs("cleanup", job_id, address=builds.address)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    would = nbs("cleanup", job_id, "--dry-run", address=builds.address)
    assert "would be removed" in would.stdout
    assert job_id in would.stdout
    assert nbs("status", job_id, address=builds.address).returncode == 0
    done = nbs("cleanup", job_id, "--yes", "--json", address=builds.address)
    assert job_id in json.loads(done.stdout)["cleaned_jobs"]
    assert nbs("status", job_id, address=builds.address).returncode == 4
    which = nbs("cleanup", "--yes", address=builds.address)
    assert which.returncode == 2


def test_a_token_is_never_printed(builds: Builds) -> None:
    secret = "a-very-secret-token"
    fine = nbs("history", address=builds.address, NBS_TOKEN=f"{secret}\n")
    assert fine.returncode == 0, fine.stderr
    for token in (f"{secret}\x07x", f"{secret} x", f"{secret}é"):
        done = nbs("history", address=builds.address, NBS_TOKEN=token)
        assert done.returncode == 2
        assert secret not in done.stdout + done.stderr
        assert "NBS_TOKEN" in done.stderr


def test_an_address_that_is_not_the_controllers(builds: Builds, cluster: Cluster) -> None:
    for address in (cluster.consul.address, cluster.nomad.address, "http://127.0.0.1:1"):
        done = nbs("status", "x", address=address)
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
        told = nbs("status", "x", "--json", address=address)
        assert json.loads(told.stdout)["error"]
    wrong = nbs("status", "x", address="http://[::1")
    assert wrong.returncode in (2, 3)
    assert "Traceback" not in wrong.stderr


def test_what_cannot_be_followed_is_refused(builds: Builds) -> None:
    done = nbs("logs", "x", "--follow", "--search", "y", address=builds.address)
    assert done.returncode == 2
    assert "--search" in done.stderr


def test_the_command_line_starts_without_what_it_does_not_need() -> None:
    script = (
        "import sys; from controller.__main__ import main; main(sys.argv[1:]);"
        "print(sorted({'pydantic', 'mcp', 'starlette', 'jinja2', 'hvac'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "status", uuid.uuid4().hex, "--addr", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
    )
    assert done.stdout == "[]\n", done.stderr
