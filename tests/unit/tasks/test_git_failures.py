"""What Git's words and those of servers mean; each text as it was seen or as its source has it."""

from __future__ import annotations

import pytest

from controller.contract.reasons import REASONS
from controller.tasks.failures import git_failures

_NO_CONNECTION = "fatal: Could not read from remote repository."
_TO = "fatal: unable to access 'https://git.example.com/a/b/': "


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["fatal: couldn't find remote ref nope"], "GitRefNotFound"),
        (["fatal: remote error: upload-pack: not our ref 0000"], "GitRefNotFound"),
        (
            [
                "No ED25519 host key is known for [127.0.0.1]:22 and you have requested strict "
                "checking.",
                "Host key verification failed.",
                _NO_CONNECTION,
            ],
            "GitHostKeyUnknown",
        ),
        # No such repository: Git over HTTP, OpenSSH with git, GitHub, GitLab, Bitbucket, Gitea,
        # Azure.
        (["fatal: repository 'https://git.example.com/a/b/' not found"], "GitRepositoryNotFound"),
        (
            ["fatal: './a/b.git' does not appear to be a git repository", _NO_CONNECTION],
            "GitRepositoryNotFound",
        ),
        (
            ["fatal: detected dubious ownership in repository at './a/b.git'", _NO_CONNECTION],
            "GitRepositoryNotFound",
        ),
        (["ERROR: Repository not found.", _NO_CONNECTION], "GitRepositoryNotFound"),
        (["remote: Repository not found."], "GitRepositoryNotFound"),
        (
            [
                "remote: ",
                "remote: ERROR: The project you were looking for could not be found or you don't "
                "have permission to view it.",
                _NO_CONNECTION,
            ],
            "GitRepositoryNotFound",
        ),
        (["conq: repository does not exist.", _NO_CONNECTION], "GitRepositoryNotFound"),
        (["Gitea: Cannot find repository: a/b", _NO_CONNECTION], "GitRepositoryNotFound"),
        (
            [
                "remote: TF401019: The Git repository with name or identifier b does not exist or "
                "you do not have permissions for the operation you are attempting.",
                _NO_CONNECTION,
            ],
            "GitRepositoryNotFound",
        ),
        # Refused
        (["git@git.example.com: Permission denied (publickey).", _NO_CONNECTION], "auth"),
        (["fatal: Authentication failed for 'https://git.example.com/a/b/'"], "auth"),
        (
            [
                "fatal: could not read Username for 'https://git.example.com': terminal prompts "
                "disabled"
            ],
            "auth",
        ),
        ([f"{_TO}The requested URL returned error: 403"], "auth"),
        # Certificates: libcurl with GnuTLS, with OpenSSL
        ([f"{_TO}server certificate verification failed. CAfile: none CRLfile: none"], "cert"),
        ([f"{_TO}SSL certificate problem: self-signed certificate"], "cert"),
        ([f"{_TO}SSL: certificate subject name (a) does not match target host name 'b'"], "cert"),
        (
            [f"{_TO}SSL: no alternative certificate subject name matches target host name 'b'"],
            "cert",
        ),
        ([f"{_TO}Problem with the SSL CA cert (path? access rights?)"], "cert"),
        # What may pass
        ([f"{_TO}The requested URL returned error: 429"], "GitUnreachable"),
        ([f"{_TO}The requested URL returned error: 503"], "GitUnreachable"),
        (["error: RPC failed; HTTP 429 curl 22 The requested URL returned error: 429"], "away"),
        (["error: RPC failed; curl 56 GnuTLS recv error (-9): Error decoding"], "GitUnreachable"),
        ([f"{_TO}gnutls_handshake() failed: An unexpected TLS packet was received."], "away"),
        ([f"{_TO}Recv failure: Connection reset by peer"], "GitUnreachable"),
        ([f"{_TO}Empty reply from server"], "GitUnreachable"),
        (["fatal: the remote end hung up unexpectedly"], "GitUnreachable"),
        (["ssh: connect to host git.example.com port 22: Connection timed out"], "GitUnreachable"),
        (["ssh: connect to host git.example.com port 22: No route to host"], "GitUnreachable"),
        (["Connection closed by 192.0.2.1 port 22", _NO_CONNECTION], "GitUnreachable"),
        # The node's own
        (["fatal: write error: No space left on device"], "OutOfDisk"),
        (["ssh cannot be run: [Errno 2] No such file or directory", _NO_CONNECTION], "node"),
        (["fatal: protocol error: bad line length character: Hell"], "GitFetchFailed"),
        ([], "GitFetchFailed"),
    ],
)
def test_a_fetch(said: list[str], reason: str) -> None:
    short = {
        "auth": "GitAuthenticationFailed",
        "cert": "GitServerNotTrusted",
        "away": "GitUnreachable",
        "node": "NodeNotPrepared",
    }
    failed = git_failures.failure("fetch", said, "git.example.com")
    assert failed.reason == short.get(reason, reason)
    assert failed.message
    if failed.reason == "GitUnreachable":
        assert "git.example.com" in failed.message


def test_a_certificate_is_for_the_operator_and_does_not_mend_itself() -> None:
    reason = REASONS["GitServerNotTrusted"]
    assert (reason.fix_owner, reason.retryable) == ("operator", False)
    assert "certificate" in reason.hint


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("fatal: cannot mkdir .git: No such file or directory", "GitFetchFailed"),
        ("error: unable to write file a: Connection timed out", "GitFetchFailed"),
        ("error: unable to write file a: No space left on device", "OutOfDisk"),
    ],
)
def test_a_command_that_asks_no_server_says_nothing_of_one(said: str, reason: str) -> None:
    assert git_failures.failure("checkout", [said]).reason == reason


def test_a_servers_full_disk_is_not_the_nodes() -> None:
    said = ["remote: fatal: write error: No space left on device", "fatal: early EOF"]
    assert git_failures.failure("fetch", said, "git.example.com").reason == "GitUnreachable"
