"""What Buildah's and skopeo's words about a registry mean, for pulling and for pushing.

The patterns are texts of containers/image (docker/errors.go) and of Go's network, seen from Buildah
1.44 and skopeo 1.9 against real registries. First match wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller.tasks.failures import buildah_errors

_STATUS = r"(?:[Ss]tatus|[Cc]ode)(?: ?[Cc]ode)?(?: from registry)?:? "
# No other try mends a certificate that the node does not trust, or a registry without TLS.
_NOT_TRUSTED = (
    r"x509:|server gave HTTP response to HTTPS client|first record does not look like a TLS"
)
_UNAVAILABLE = (
    r"connection refused|connection reset|connection timed out|no such host|server misbehaving"
    r"|i/o timeout|TLS handshake timeout|deadline exceeded|Client\.Timeout"
    r"|network is unreachable|no route to host|\bEOF\b|broken pipe"
    r"|use of closed network connection|server closed idle connection"
    r"|http2: |stream error: |INTERNAL_ERROR"
    rf"|{_STATUS}(?:408|429|5\d\d)|received unexpected HTTP status: 5\d\d"
    r"|toomanyrequests|[Tt]oo [Mm]any [Rr]equests|\b50[234] (?:Bad|Service|Gateway)"
)
# What Docker Hub, GHCR and Quay say of images that need a credential, and of those they lack.
_DENIED = (
    r"requested access to the resource is denied|access to the requested resource is not authorized"
    r"|denied: "
)
_UNAUTHORIZED = rf"unauthorized|authentication required|invalid username/password|{_STATUS}40[13]"
_ABSENT = r"manifest unknown|name unknown|not found|no image found|image not known"

_PULL = (
    *buildah_errors.NODE,
    (_NOT_TRUSTED, "RegistryNotTrusted"),
    (_UNAVAILABLE, "BaseImageUnavailable"),
    (_ABSENT, "BaseImageNotFound"),
    (_DENIED, "BaseImageDenied"),
    (_UNAUTHORIZED, "BaseImageAuthenticationFailed"),
)
_PUSH = (
    (_NOT_TRUSTED, "RegistryNotTrusted"),
    (_UNAVAILABLE, "RegistryUnavailable"),
    (rf"{_DENIED}|{_UNAUTHORIZED}", "RegistryAuthenticationFailed"),
    (buildah_errors.DISK, "OutOfDisk"),
)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"")


def pull_reason(error: str) -> str:
    """The reason for which a base image could not be had."""
    return _first(_PULL, error) or "BaseImageUnavailable"


def push_reason(error: str) -> str:
    """The reason for which something could not be put into a registry, or read back."""
    return _first(_PUSH, error) or "PublishFailed"


def last(said: Sequence[str]) -> str:
    """The line of a program's output that says why it failed."""
    wanted = [line for line in said if re.search(r"Error|error|FATA|level=fatal", line)]
    return (wanted or list(said) or ["no message"])[-1]


def _first(table: Sequence[tuple[str, str]], error: str) -> str | None:
    # skopeo's whole message is quoted. What is quoted within one is a URL or a server's page.
    inner = re.sub(r"^time=\"[^\"]*\" level=fatal msg=\"", "", error).replace('\\"', '"')
    bare = _QUOTED.sub('""', inner)
    return next((reason for pattern, reason in table if re.search(pattern, bare)), None)
