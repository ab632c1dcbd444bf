"""Git LFS: the content of files of which the repository itself has only pointers.

It comes from the repository's own server. A `.lfsconfig` in the commit may name another one, whose
requests this node would then make with whatever the network lets it reach: what is given on Git's
command line stands above it. Git asks for credentials as for a fetch, for the same host only.
https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from controller.tasks.errors import PhaseFailed

_ATTRIBUTE = re.compile(rb"^[^#\n]*\sfilter=lfs(?:\s|$)", re.MULTILINE)
_LARGEST = 1 << 20  # bytes of a .gitattributes that are looked at
_SETTINGS = (
    # As `git lfs install` writes them: without, nothing is put in the place of a pointer.
    "filter.lfs.clean=git-lfs clean -- %f",
    "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.required=true",
    "lfs.locksverify=false",
    "lfs.transfer.maxretries=3",
)
# What git-lfs says, first match wins (git-lfs/tq, git-lfs/lfshttp, git-lfs/lfsapi).
_FAILURES = (
    (r"x509: ", "GitServerNotTrusted"),
    (
        r"Authentication required|Authorization error|Bad credentials|credentials for .* not found"
        r"|(?:response|HTTP|Client error):.*\b40[13]\b",
        "GitAuthenticationFailed",
    ),
    (
        r"Object does not exist on the server|Repository or object not found|\b404\b",
        "GitLfsObjectMissing",
    ),
    (
        r"(?:response|HTTP|Server error|Fatal error):.*\b5\d\d\b|Server error|dial tcp|i/o timeout"
        r"|connection re(?:set|fused)|\bEOF\b|TLS handshake|timeout",
        "GitUnreachable",
    ),
)

# git-lfs 3.3 writes the address of a server that fails so.
_UNREADABLE = re.compile(r"&\{%.*?\}s\(MISSING\) ?")


def used(tree: Path, attributes: Iterable[str]) -> bool:
    """Whether files of a checkout are kept by LFS, by its `.gitattributes` files."""
    return any(_ATTRIBUTE.search(_read(tree / name)) for name in attributes)


def settings(url: str) -> list[str]:
    """Settings of Git for a repository's LFS server. Raises PhaseFailed without git-lfs."""
    if shutil.which("git-lfs") is None:
        raise PhaseFailed(
            "NodeNotPrepared",
            "files of the commit are kept by Git LFS, and this node has no git-lfs",
        )
    return [*_SETTINGS, f"lfs.url={endpoint(url)}"]


def endpoint(url: str) -> str:
    """Where a repository's LFS server is; over SSH the server itself is asked for that."""
    if not url.startswith(("http://", "https://")):
        return url
    whole = url.rstrip("/")
    return f"{whole if whole.endswith('.git') else f'{whole}.git'}/info/lfs"


def failure(said: list[str], fallback: Callable[[], PhaseFailed]) -> PhaseFailed:
    """Why git-lfs failed, from what it said; `fallback` where that tells nothing."""
    for pattern, reason in _FAILURES:
        for line in said:
            if re.search(pattern, line):
                return PhaseFailed(reason, f"Git LFS: {_UNREADABLE.sub('', line).strip()}")
    return fallback()


def _read(path: Path) -> bytes:
    """A file of the commit; nothing where it is a link, as Git has it for `.gitattributes`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as stream:
        return stream.read(_LARGEST)
