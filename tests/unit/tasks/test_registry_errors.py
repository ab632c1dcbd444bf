"""What registries, and the network before them, say of pulls and pushes."""

from __future__ import annotations

import pytest

from controller.tasks.failures.diagnosis import pull_failure, push_failure
from controller.tasks.failures.registry_errors import last, pull_reason, push_reason

PASSING = (
    'pinging container registry r: Get "https://r/v2/": dial tcp: lookup r: no such host',
    "pinging container registry r: dial tcp: lookup r on 10.0.0.1:53: server misbehaving",
    "dial tcp 192.0.2.1:443: connect: connection refused",
    "dial tcp 192.0.2.1:443: connect: no route to host",
    "dial tcp 192.0.2.1:443: i/o timeout",
    "net/http: TLS handshake timeout",
    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
    'Put "https://r/v2/x/blobs/uploads/1": http: server closed idle connection',
    "writing blob: stream error: stream ID 5; INTERNAL_ERROR; received from peer",
    "http2: server sent GOAWAY and closed the connection",
    "writing manifest: received unexpected HTTP status: 503 Service Unavailable",
    "Requesting bearer token: invalid status code from registry 503 (Service Unavailable)",
    'uploading layer chunked: StatusCode: 502, "<html> not found, x509: …"',
    "reading blob sha256:0: unexpected EOF",
    "reading manifest 1 in r/x: toomanyrequests: You have reached your rate limit",
    "too many requests to registry",
)
DISTRUSTED = (
    'pinging container registry r: Get "https://r/v2/": tls: failed to verify certificate: x509: '
    "certificate signed by unknown authority",
    "pinging container registry r: http: server gave HTTP response to HTTPS client",
    "tls: first record does not look like a TLS handshake",
)


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass(error: str) -> None:
    assert pull_reason(f"Error: {error}") == "BaseImageUnavailable"
    assert push_reason(f"Error: {error}") == "RegistryUnavailable"
    quoted = error.replace('"', '\\"')
    skopeo = f'time="2026-11-28T15:00:00Z" level=fatal msg="{quoted}"'
    assert push_reason(skopeo) == "RegistryUnavailable"


@pytest.mark.parametrize("error", DISTRUSTED)
def test_what_no_other_try_mends(error: str) -> None:
    assert pull_reason(error) == push_reason(error) == "RegistryNotTrusted"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("reading manifest 1 in r.example/x: manifest unknown", "BaseImageNotFound"),
        (
            "reading manifest latest in docker.io/library/typo: requested access to the resource "
            "is denied",
            "BaseImageDenied",
        ),
        (
            "reading manifest 1 in quay.io/a/typo: unauthorized: access to the requested resource "
            "is not authorized",
            "BaseImageDenied",
        ),
        ("reading manifest 1 in ghcr.io/a/typo: denied: denied", "BaseImageDenied"),
        (
            "reading manifest 1 in r/x: unauthorized: authentication required",
            "BaseImageAuthenticationFailed",
        ),
        (
            "Requesting bearer token: invalid status code from registry 403 (Forbidden)",
            "BaseImageAuthenticationFailed",
        ),
        (
            "unable to retrieve auth token: invalid username/password: unauthorized: bad",
            "BaseImageAuthenticationFailed",
        ),
        ("processing tar file(write /usr/bin/tac: no space left on device): exit 1", "OutOfDisk"),
        ("what nobody has seen", "BaseImageUnavailable"),
    ],
)
def test_pulls(error: str, reason: str) -> None:
    assert pull_reason(error) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "writing blob: denied: requested access to the resource is denied",
            "RegistryAuthenticationFailed",
        ),
        (
            "Requesting bearer token: invalid status code from registry 403 (Forbidden)",
            "RegistryAuthenticationFailed",
        ),
        ("writing manifest: manifest invalid", "PublishFailed"),
    ],
)
def test_pushes(error: str, reason: str) -> None:
    assert push_reason(error) == reason


def test_the_line_that_says_why() -> None:
    assert last(["Error: a", "b"]) == "Error: a"
    assert last(["a", "b"]) == "b"
    assert last([]) == "no message"


def test_what_was_wanted_is_said() -> None:
    said = ["Trying to pull x...", "Error: initializing source docker://x: manifest unknown"]
    failed = pull_failure("x", said)
    assert (failed.reason, failed.message) == ("BaseImageNotFound", "x: manifest unknown")
    said = ['time="2026-11-28T15:31:14Z" level=fatal msg="Get \\"https://r/v2/\\": x509: no"']
    assert push_failure("r/x:1", said).message == 'r/x:1: Get "https://r/v2/": x509: no'
