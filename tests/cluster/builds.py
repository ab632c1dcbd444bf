"""Builds as the tests use them: make a repository, submit, wait, and look at what is left."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from cluster.cluster import Cluster
from cluster.git_repository import GitRepository

T = TypeVar("T")
GIT = "secret/nomad-build-service/git/demo"
GIT_SSH = "secret/nomad-build-service/git/demo-ssh"
REGISTRY = "secret/nomad-build-service/registry/demo"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_numbers = itertools.count()


def eventually(
    what: str, condition: Callable[[], T | None], seconds: float = 60, interval: float = 0.05
) -> T:
    """The first true value of `condition`; AssertionError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(interval)


@dataclass
class Builds:
    """The service on a cluster. `address` is the controller's."""

    cluster: Cluster
    address: str
    submitted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.address, timeout=30)
        self.nomad = httpx.Client(
            base_url=self.cluster.nomad.address, headers=self.cluster.nomad.headers, timeout=30
        )

    # Requests

    def repository(
        self, files: Mapping[str, str | bytes], *, private: bool = True
    ) -> GitRepository:
        name = f"r{uuid.uuid4().hex[:10]}"
        return self.cluster.create_git_repository(name, files, private=private)

    def dockerfile(self, *instructions: str, **files: str) -> GitRepository:
        """A repository whose Dockerfile begins with the base image."""
        lines = (f"FROM {self.cluster.base_image}", *instructions)
        return self.repository({"Dockerfile": "\n".join(lines) + "\n", **files})

    def request(self, repository: GitRepository, **fields: Any) -> dict[str, Any]:
        """A complete request with an owner and an image of its own; None removes a field."""
        number = next(_numbers)
        request = {
            "owner": f"owner-{uuid.uuid4().hex[:8]}",
            "repo_url": repository.http_url,
            "git_ref": "main",
            "git_credentials_path": GIT,
            "registry_url": f"{self.cluster.registry.host}/t{os.getpid()}-{number}",
            "image_name": "app",
            "registry_credentials_path": REGISTRY,
            "image_tags": ["v1"],
        } | fields
        return {name: value for name, value in request.items() if value is not None}

    # The service

    def submit(self, request: Mapping[str, Any]) -> str:
        answer = self.http.post("/mcp/submitJob", json={"job_config": dict(request)})
        assert answer.status_code == 200, answer.text
        job_id: str = answer.json()["job_id"]
        self.submitted.append(job_id)
        return job_id

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self.http.post("/mcp/getStatus", json={"job_id": job_id})
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        return status

    def logs(self, job_id: str) -> dict[str, list[str]]:
        answer = self.http.post("/mcp/getLogs", json={"job_id": job_id})
        assert answer.status_code == 200, answer.text
        logs: dict[str, list[str]] = answer.json()["logs"]
        return logs

    def text(self, job_id: str) -> str:
        return "\n".join(line for lines in self.logs(job_id).values() for line in lines or [])

    def await_status(self, job_id: str, *wanted: str, seconds: float = 90) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            status = self.status(job_id)
            assert status["status"] in wanted or status["status"] not in ENDED, status
            return status if status["status"] in wanted else None

        return eventually(f"{job_id} is {wanted}", look, seconds)

    def await_log(self, job_id: str, text: str, seconds: float = 60) -> None:
        eventually(f"{text!r} in the log", lambda: text in self.text(job_id), seconds)

    def run(self, request: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
        """Submit and wait for the end."""
        return self.await_status(self.submit(request), *(wanted or ENDED))

    # Nomad, past the controller

    def dispatch(self, request: Mapping[str, Any], job: str = "image-build") -> str:
        """Dispatch by hand as the README says; Nomad's ID of the child."""
        answer = self.nomad.post(
            f"/v1/job/{job}/dispatch",
            json={
                "Payload": base64.b64encode(json.dumps(request).encode()).decode(),
                "Meta": {"pack.deployment_name": ""},
            },
        )
        assert answer.status_code == 200, answer.text
        child: str = answer.json()["DispatchedJobID"]
        return child

    def job(self, nomad_job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.nomad.get(f"/v1/job/{_quote(nomad_job_id)}").json()
        return job

    def allocation(self, nomad_job_id: str) -> dict[str, Any] | None:
        """The newest allocation, whole."""
        listed = self.nomad.get(f"/v1/job/{_quote(nomad_job_id)}/allocations").json()
        if not listed:
            return None
        newest = max(listed, key=lambda alloc: alloc["CreateIndex"])
        allocation: dict[str, Any] = self.nomad.get(f"/v1/allocation/{newest['ID']}").json()
        return allocation

    def await_end(self, nomad_job_id: str, seconds: float = 90) -> dict[str, Any]:
        """The allocation once its last task is dead."""

        def look() -> dict[str, Any] | None:
            allocation = self.allocation(nomad_job_id)
            tasks = (allocation or {}).get("TaskStates") or {}
            over = tasks and all(state.get("State") == "dead" for state in tasks.values())
            return allocation if over else None

        return eventually(f"{nomad_job_id} has ended", look, seconds)

    def file(self, alloc_id: str, path: str) -> str:
        # Nomad 1.11 answers `cat` of a missing file with 200 and the error as content.
        found = self.nomad.get(f"/v1/client/fs/stat/{alloc_id}", params={"path": path})
        assert found.status_code == 200, found.text
        return self.nomad.get(f"/v1/client/fs/cat/{alloc_id}", params={"path": path}).text

    # What is left

    def tags(self, request: Mapping[str, Any]) -> list[str]:
        """The tags of images in the registry, without what is attached to them."""
        registry = self.cluster.registry
        answer = httpx.get(
            f"{registry.address}/v2/{image_path(request)}/tags/list",
            auth=(registry.username, registry.password),
        )
        assert answer.status_code in (200, 404), answer.text
        there = answer.json().get("tags") or [] if answer.status_code == 200 else []
        return sorted(tag for tag in there if not tag.startswith("sha256-"))

    def digest(self, request: Mapping[str, Any], tag: str) -> str:
        return self.cluster.registry.digest(image_path(request), tag)

    def config(self, request: Mapping[str, Any], tag: str) -> dict[str, Any]:
        return self.cluster.registry.image_config(image_path(request), tag)

    def run_image(self, reference: str, *command: str) -> str:
        done = self.cluster.buildah.run_image(
            self.cluster.registry.credentials, reference, list(command)
        )
        assert done.exit_code == 0, done.output
        return done.output

    def assert_clean(self, alloc_id: str) -> None:
        """Nothing of a build is left: no process, mount, scratch file or working container."""
        storage = self.cluster.state.storage
        scratch = [path for path in storage.glob("*/scratch/*") if path.name == alloc_id]
        assert scratch == []
        containers = [
            path
            for path in storage.glob("*/root/overlay-containers/*/userdata/*.json")
            if alloc_id in path.read_text("utf-8", "replace")
        ]
        assert containers == []
        assert [pid for pid in _processes() if alloc_id in _environ(pid)] == []
        # Nomad keeps secrets/ and private/ of a task mounted until the allocation is collected.
        assert [
            line
            for line in Path("/proc/mounts").read_text().splitlines()
            if alloc_id in line and not line.split()[1].endswith(("/secrets", "/private"))
        ] == []


def process_of(command: bytes) -> int | None:
    """The process whose command line begins so, words parted by NUL."""
    for pid in _processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(command):
                return pid
    return None


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environ(pid: int) -> str:
    try:
        process = Path(f"/proc/{pid}")
        if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
        command = process.joinpath("cmdline").read_bytes()
        if b"logmon" in command or b"executor" in command:
            return ""  # Nomad's own helpers outlive the task until the allocation is collected
        return (process.joinpath("environ").read_bytes() + command).decode("utf-8", "replace")
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return ""


def image_path(request: Mapping[str, Any]) -> str:
    """The path of a request's image in its registry."""
    path = str(request["registry_url"]).partition("/")[2]
    return f"{path}/{request['image_name']}" if request.get("image_name") else path


def _quote(nomad_job_id: str) -> str:
    return urllib.parse.quote(nomad_job_id, safe="")


def nomad_job_id(job_id: str) -> str:
    """Nomad's ID behind a public job_id."""
    from controller.contract.job_id import parse

    return parse(job_id).nomad_job_id


def cli(cluster: Cluster, *arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """One of the cluster's programs, in the environment that `scripts/demo env` gives."""
    environ = {**os.environ, **cluster.env(), "PATH": f"{cluster.state.bin}:{os.environ['PATH']}"}
    return subprocess.run(
        arguments, env=environ, capture_output=True, text=True, check=False, timeout=120, **kwargs
    )
