"""Files that Git LFS keeps: their content gets into the image, from the right server only."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builds import Builds

from cluster.cluster import Cluster
from cluster.git_repository import GitRepository

pytestmark = pytest.mark.slow

ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
CONTENT = bytes(range(256)) * 4096
SHOWN = f"sha256sum /data.bin | grep -q {hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(scope="module")
def lfs(cluster: Cluster, controller_address: str) -> Iterator[Cluster]:
    """The cluster with an LFS server behind its Git server."""
    try:
        cluster.git_lfs.start()
        yield cluster
    finally:
        cluster.git_lfs.stop()


def pointer(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    version = "https://git-lfs.github.com/spec/v1"
    return f"version {version}\noid sha256:{digest}\nsize {len(content)}\n"


def files(builds: Builds, **more: str) -> dict[str, str | bytes]:
    dockerfile = f"FROM {builds.cluster.base_image}\nCOPY data.bin /data.bin\n"
    return {
        "Dockerfile": dockerfile,
        ".gitattributes": ATTRIBUTES,
        "data.bin": pointer(CONTENT),
        **more,
    }


def push(cluster: Cluster, repository: GitRepository, content: bytes, tmp: Path) -> None:
    """Give the server the content, by the real client."""
    user, password = cluster.git_http.username, cluster.git_http.password
    login = repository.http_url.replace("://", f"://{user}:{password}@")
    work = tmp / "work"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp), "GIT_TERMINAL_PROMPT": "0"}

    def git(*arguments: str) -> None:
        done = subprocess.run(
            ["git", "-c", f"lfs.url={login}/info/lfs", "-c", "lfs.locksverify=false", *arguments],
            cwd=work,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    work.mkdir()
    git("init", "--quiet")
    git("remote", "add", "origin", login)
    git("lfs", "install", "--local", "--skip-repo")
    (work / ".gitattributes").write_text(ATTRIBUTES)
    (work / "data.bin").write_bytes(content)
    git("add", "--all")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    git(*identity, "commit", "--quiet", "-m", "content")
    git("lfs", "push", "--all", "origin")


def test_the_content_gets_into_the_image(builds: Builds, lfs: Cluster, tmp_path: Path) -> None:
    repository = builds.repository(files(builds))
    push(lfs, repository, CONTENT, tmp_path)
    request = builds.request(repository, test_commands=[SHOWN])
    status = builds.run(request, "SUCCEEDED")
    said = builds.logs(status["job_id"])["build"]
    assert any("Git LFS: 1 file, 1.0 MB" in line for line in said), said
    assert lfs.git_http.password not in "\n".join(said)
    again = builds.run(request | {"image_tags": ["again"]}, "SUCCEEDED")
    assert again["cache"]["misses"] == 0


def test_the_content_of_a_submodule_too(builds: Builds, lfs: Cluster, tmp_path: Path) -> None:
    inner = builds.repository({".gitattributes": ATTRIBUTES, "data.bin": pointer(CONTENT)})
    push(lfs, inner, CONTENT, tmp_path)
    base = builds.cluster.base_image
    outer = builds.repository({"README": "none"})
    outer.push(
        {"Dockerfile": f"FROM {base}\nCOPY inner/data.bin /data.bin\n"},
        submodules={"inner": f"{inner.http_url}@{inner.commit}"},
    )
    builds.run(builds.request(outer, submodules=True, test_commands=[SHOWN]), "SUCCEEDED")


def test_content_that_was_never_pushed_is_named(builds: Builds, lfs: Cluster) -> None:
    missing = pointer(b"never pushed")
    repository = builds.repository(files(builds, **{"data.bin": missing}))
    request = builds.request(repository)
    checked = builds.http.post("/mcp/checkJob", json=request, timeout=60)
    assert checked.json()["ok"], checked.text  # a check fetches no content
    failure = builds.run(request, "FAILED")["failure"]
    assert failure["reason"] == "GitLfsObjectMissing"
    assert "404" in failure["message"], failure
    assert "git lfs push --all" in failure["hint"]


def test_a_lfsconfig_leads_nowhere_else(builds: Builds, lfs: Cluster, tmp_path: Path) -> None:
    with listening() as (address, asked):
        config = f'[lfs]\n\turl = {address}/steal\n[remote "origin"]\n\tlfsurl = {address}/steal\n'
        repository = builds.repository(files(builds, **{".lfsconfig": config}))
        push(lfs, repository, CONTENT, tmp_path)
        builds.run(builds.request(repository, test_commands=[SHOWN]), "SUCCEEDED")
    assert asked == []


def test_a_server_that_is_away_is_a_passing_failure(builds: Builds, lfs: Cluster) -> None:
    repository = builds.repository(files(builds))
    lfs.git_lfs.stop()
    try:
        failure = builds.run(builds.request(repository), "FAILED")["failure"]
    finally:
        lfs.git_lfs.start()
    assert failure["reason"] == "GitUnreachable", failure
    assert failure["retryable"]


def test_a_repository_without_it_asks_for_nothing(builds: Builds, cluster: Cluster) -> None:
    """No server runs, and an attribute that only looks like it is none."""
    repository = builds.dockerfile(
        "COPY data.bin /data.bin",
        **{".gitattributes": "# *.bin filter=lfs\n*.bin diff=lfs\n", "data.bin": "as it is\n"},
    )
    status = builds.run(
        builds.request(repository, test_commands=["grep -q 'as it is' /data.bin"]), "SUCCEEDED"
    )
    assert "LFS" not in "\n".join(builds.logs(status["job_id"])["build"])


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server that notes who asks it for what."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_error(404)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
