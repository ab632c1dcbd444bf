"""The controller can be away: builds go on, and it catches up."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from builds import Builds, cli, eventually

pytestmark = pytest.mark.slow

CONTROLLER = "nomad-build-service"


def controller_pid(builds: Builds) -> int:
    """The process that runs `nbs serve` in this cluster's allocation of the controller."""
    alloc_id = builds.allocation(CONTROLLER)["ID"]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if b"serve" in command and alloc_id.encode() in (entry / "environ").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no controller process")


def test_dispatch_by_hand_with_the_controller_stopped(builds: Builds, tmp_path: Path) -> None:
    cluster = builds.cluster
    repository = builds.dockerfile("RUN echo by-hand > /how")
    request = builds.request(repository, test_commands=["cat /how"])
    file = tmp_path / "build.json"
    file.write_text(json.dumps(request))
    assert cli(cluster, "nomad", "job", "stop", CONTROLLER).returncode == 0
    try:
        done = cli(
            cluster,
            "nomad",
            "job",
            "dispatch",
            "-detach",
            "-meta",
            "pack.deployment_name=",
            "image-build",
            str(file),
        )
        assert done.returncode == 0, done.stderr
        child = next(
            line.split()[-1]
            for line in done.stdout.splitlines()
            if line.startswith("Dispatched Job ID")
        )
        builds.await_end(child)
        assert builds.tags(request) == ["v1"]
    finally:
        cluster.pack.deploy()
    later = Builds(cluster, cluster.pack.wait_healthy())
    status = later.status(child)
    assert status["status"] == "SUCCEEDED"
    assert status["digest"] == later.digest(request, "v1")
    assert any("by-hand" in line for line in later.logs(status["job_id"])["build"])


def test_dispatch_by_meta_alone(builds: Builds) -> None:
    """What is short can be given on the command line, for a repository without a password."""
    repository = builds.repository(
        {"Dockerfile": f"FROM {builds.cluster.base_image}\nRUN true\n"}, private=False
    )
    meta = {
        "repo_url": repository.http_url,
        "git_ref": "main",
        "pack.deployment_name": "",
        "registry_url": f"{builds.cluster.registry.host}/meta",
        "image_name": "app",
    }
    arguments = [word for key, value in meta.items() for word in ("-meta", f"{key}={value}")]
    done = cli(builds.cluster, "nomad", "job", "dispatch", "-detach", *arguments, "image-build")
    assert done.returncode == 0, done.stderr
    child = next(
        line.split()[-1]
        for line in done.stdout.splitlines()
        if line.startswith("Dispatched Job ID")
    )
    allocation = builds.await_end(child)
    outcome = json.loads(builds.file(allocation["ID"], "finish/local/outcome.json"))
    # Built and tested; this registry wants a login, and meta names none.
    assert outcome["failure"]["reason"] == "RegistryAuthenticationFailed"
    assert outcome["commit"] == repository.commit


def test_sigkill_of_the_controller_leaves_the_build_unharmed(builds: Builds) -> None:
    lines = "".join(f"echo line-{number:03}; sleep 0.05; " for number in range(100))
    request = builds.request(builds.dockerfile(f"RUN {lines}"))
    job_id = builds.submit(request)
    seen, cursor = follow(builds, job_id, until="line-020")
    old = controller_pid(builds)
    os.kill(old, signal.SIGKILL)
    eventually("another controller runs", lambda: _other(builds, old), 60)
    again = Builds(builds.cluster, builds.cluster.pack.wait_healthy())
    rest, _ = follow(again, job_id, after=cursor)
    again.await_status(job_id, "SUCCEEDED")
    numbered = [line for line in seen + rest if line.startswith("line-")]
    assert numbered == [f"line-{number:03}" for number in range(100)]


def _other(builds: Builds, old: int) -> bool:
    try:
        return controller_pid(builds) != old
    except AssertionError:
        return False


def follow(
    builds: Builds, job_id: str, *, after: str | None = None, until: str | None = None
) -> tuple[list[str], str]:
    """Read the SSE stream to a line or its end; the messages and the last cursor."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    messages: list[str] = []
    cursor, event, data = after or "", "message", ""
    with builds.http.stream(
        "GET", "/mcp/streamLogs", params={"job_id": job_id}, headers=headers, timeout=60
    ) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                cursor = value
            elif name == "event":
                event = value
            elif name == "data":
                data = value
            elif not line and data:
                if event == "end":
                    break
                message = json.loads(data).get("message", "")
                messages.append(message)
                if until is not None and until == message:
                    break
                event, data = "message", ""
    return messages, cursor
