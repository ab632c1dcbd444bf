"""Fetches that fail for a reason that somebody can mend: which one, and whose it is."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from builds import GIT_SSH, Builds
from fault_proxy import Fault, FaultProxy, fault_times, proxy
from listening import free_port
from test_build_failures import check

from cluster.certificates import Authority
from cluster.waiting import wait_for

pytestmark = pytest.mark.slow
SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {keys}
AuthenticationMethods publickey
UsePAM no
StrictModes no
PermitTTY no
"""
# What servers of others say to a client whose key is good, for a repository that is not there.
GITHUB = "ERROR: Repository not found."
GITLAB = (
    "remote: ERROR: The project you were looking for could not be found or you don't have"
    " permission to view it."
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key pair that no server knows."""
    path = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


def secret(builds: Builds, **fields: str) -> str:
    """The Vault path of a Git credential of the test's own."""
    path = f"nomad-build-service/git/t{uuid.uuid4().hex[:8]}"
    builds.cluster.vault_put(path, fields)
    return f"secret/{path}"


def test_a_host_key_that_is_another(builds: Builds, key: Path) -> None:
    """Of the server that is asked, the secret's known_hosts has a key that it does not have."""
    ssh = builds.cluster.git_ssh
    other = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    for known in (f"[127.0.0.1]:{ssh.port} {other}", f"[127.0.0.1]:1 {other}"):
        path = secret(builds, ssh_key=ssh.client_key.read_text(), known_hosts=known)
        repository = builds.dockerfile("RUN true")
        request = builds.request(repository, repo_url=repository.ssh_url, git_credentials_path=path)
        failure = check(builds, request, "build", "GitHostKeyUnknown")
        assert (failure["fix_owner"], failure["retryable"]) == ("operator", False)


def test_a_key_that_the_server_does_not_let_in(builds: Builds, key: Path) -> None:
    repository = builds.dockerfile("RUN true")
    path = secret(builds, ssh_key=key.read_text())
    request = builds.request(repository, repo_url=repository.ssh_url, git_credentials_path=path)
    failure = check(builds, request, "build", "GitAuthenticationFailed")
    assert "Permission denied" in failure["message"]
    assert not failure["retryable"]
    assert "PRIVATE KEY" not in builds.text(builds.submitted[-1])


@pytest.mark.parametrize("transport", ["http", "ssh"])
def test_a_repository_that_is_not_there(builds: Builds, transport: str) -> None:
    repository = builds.dockerfile("RUN true")
    url = {"http": repository.http_url, "ssh": repository.ssh_url}[transport]
    request = builds.request(repository, repo_url=url.replace(repository.name, "no-such"))
    if transport == "ssh":
        request["git_credentials_path"] = GIT_SSH
    failure = check(builds, request, "build", "GitRepositoryNotFound")
    assert "no-such" in failure["message"]
    assert (failure["fix_owner"], failure["retryable"]) == ("author", False)


@pytest.mark.parametrize("words", [GITHUB, GITLAB])
def test_a_repository_that_a_hosting_service_has_not(builds: Builds, words: str) -> None:
    with ssh_server_that_says(builds, words) as (url, known_hosts):
        path = secret(
            builds,
            ssh_key=builds.cluster.git_ssh.client_key.read_text(),
            known_hosts=known_hosts,
        )
        request = builds.request(
            builds.dockerfile("RUN true"), repo_url=url, git_credentials_path=path
        )
        failure = check(builds, request, "build", "GitRepositoryNotFound")
    assert words in failure["message"]
    assert (failure["fix_owner"], failure["retryable"]) == ("author", False)


def test_a_server_whose_certificate_is_not_trusted(builds: Builds, tmp_path: Path) -> None:
    with server_with_own_authority(builds, tmp_path) as address:
        request = builds.request(
            builds.dockerfile("RUN true"),
            repo_url=f"https://{address}/a/b.git",
            git_credentials_path=None,
        )
        failure = check(builds, request, "build", "GitServerNotTrusted")
    assert (failure["fix_owner"], failure["retryable"]) == ("operator", False)
    assert "certificate" in failure["hint"]


@pytest.mark.parametrize(
    ("fault", "method", "part"),
    [
        (429, "GET", "/info/refs"),
        (503, "POST", "/git-upload-pack"),
        ("reset", "GET", "/info/refs"),
        ("cut", "POST", "/git-upload-pack"),
    ],
)
def test_a_server_that_may_have_a_better_moment(
    builds: Builds, fault: Fault, method: str, part: str
) -> None:
    repository = builds.dockerfile("RUN true")
    upstream = builds.cluster.git_http.address.removeprefix("http://")
    front = f"127.0.0.1:{free_port()}"
    url = repository.http_url.replace(upstream, front)
    request = builds.request(repository, repo_url=url)
    with proxy(front, upstream, FaultProxy(fault_times(99, fault, method, part))) as faults:
        failure = check(builds, request, "build", "GitUnreachable")
    assert faults.faults
    assert front in failure["message"]
    assert (failure["fix_owner"], failure["retryable"]) == ("transient", True)
    with proxy(front, upstream, FaultProxy(lambda *_: None)):
        builds.run(request, "SUCCEEDED")


def test_a_short_commit_over_ssh(builds: Builds) -> None:
    """Its files come while they are written: the commit before the last has one that is gone."""
    repository = builds.dockerfile("COPY early /", early="is here")
    repository.push({"Dockerfile": "FROM scratch\n"})
    request = builds.request(
        repository,
        repo_url=repository.ssh_url,
        git_credentials_path=GIT_SSH,
        git_ref=repository.commit[:9],
    )
    assert builds.run(request, "SUCCEEDED")["commit"] == repository.commit


@contextmanager
def ssh_server_that_says(builds: Builds, words: str) -> Iterator[tuple[str, str]]:
    """An OpenSSH that lets the cluster's key in and answers every command with these words.

    The URL of a repository there, and the known_hosts of the server.
    """
    git_ssh, port = builds.cluster.git_ssh, free_port()
    account = git_ssh.account
    host_key = builds.cluster.state.data(git_ssh.name) / "host_key"
    with tempfile.TemporaryDirectory(prefix="nbs-ssh-") as directory:
        files = {
            "said": f"#!/bin/sh\ncat >&2 <<'EOF'\n{words}\nEOF\nexit 1\n",
            "keys": f'restrict,command="{directory}/said" '
            + git_ssh.client_key.with_suffix(".pub").read_text(),
            "config": SSHD.format(port=port, host_key=host_key, keys=f"{directory}/keys"),
        }
        for name, text in files.items():
            path = Path(directory, name)
            path.write_text(text)
            path.chmod(0o700 if name == "said" else 0o600)
            account.own(path)
        account.own(Path(directory))
        server = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", f"{directory}/config"],
            stderr=subprocess.DEVNULL,
            **account.popen_arguments(),
        )
        try:
            wait_for("the SSH server answers", lambda: _answers(port), seconds=10)
            known = re.sub(r"\]:\d+", f"]:{port}", git_ssh.known_hosts)
            yield f"ssh://{account.name}@127.0.0.1:{port}/acme/app.git", known
        finally:
            server.terminate()
            server.wait(10)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        return connection.recv(8).startswith(b"SSH-2.0")
    return False


@contextmanager
def server_with_own_authority(builds: Builds, directory: Path) -> Iterator[str]:
    """HOST:PORT of a TLS server whose certificate the cluster's own authority has signed.

    No client that does not trust it says a word there after the handshake.
    """
    state = builds.cluster.state
    authority = Authority(state.cacert, state.secrets / "ca-key.pem")
    signed = authority.certificate("git", "127.0.0.1")
    for name, text in (("cert.pem", signed.certificate), ("key.pem", signed.key)):
        (directory / name).write_text(text)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with suppress(OSError), tls.wrap_socket(connection, server_side=True) as one:
                        one.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
