"""The public name of a build: opaque, URL-safe, and reversible to Nomad's own job ID.

A build is a child of a parameterized job; Nomad names it `PARENT/dispatch-SUFFIX`. Its public
`job_id` is `NAMESPACE.PARENT.SUFFIX`, every byte outside `[A-Za-z0-9_-]` of a part written as `~XX`
(hexadecimal, UTF-8). So a build is found by its id alone, whichever class or deployment it came
from and whoever dispatched it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DISPATCH = "/dispatch-"
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_ENCODED = re.compile(r"(?:[A-Za-z0-9_-]|~[0-9a-f]{2})+\Z")
MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class DispatchedJob:
    """A child of a parameterized job, by the three names that Nomad gives it."""

    namespace: str
    parent: str
    suffix: str

    @property
    def nomad_job_id(self) -> str:
        """Nomad's ID of the child, for example `image-build/dispatch-1763864400-1a2b3c4d`."""
        return f"{self.parent}{_DISPATCH}{self.suffix}"

    @property
    def job_id(self) -> str:
        """The public, URL-safe id, for example `default.image-build.1763864400-1a2b3c4d`."""
        return ".".join(_encode(part) for part in (self.namespace, self.parent, self.suffix))


def parse(text: str, *, default_namespace: str = "default") -> DispatchedJob:
    """Read a public job_id or a full Nomad job ID (`PARENT/dispatch-SUFFIX`).

    Raises ValueError, with a message fit for the caller, for anything else.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"job_id is longer than {MAX_LENGTH} characters")
    if _DISPATCH in text:
        return from_nomad(default_namespace, text)
    parts = text.split(".")
    if len(parts) != 3 or not all(_ENCODED.match(part) for part in parts):
        raise ValueError(
            "job_id must be the id that submitJob returned (NAMESPACE.JOB.SUFFIX) "
            "or a Nomad job ID (JOB/dispatch-SUFFIX)"
        )
    return DispatchedJob(*(_decode(part) for part in parts))


def from_nomad(namespace: str, nomad_job_id: str) -> DispatchedJob:
    """Split Nomad's ID of a dispatched child. Raises ValueError where it is not one."""
    parent, found, suffix = nomad_job_id.rpartition(_DISPATCH)
    if not (found and parent and suffix and namespace):
        raise ValueError(f"{nomad_job_id!r} is no dispatched job's ID (JOB/dispatch-SUFFIX)")
    return DispatchedJob(namespace, parent, suffix)


def _encode(part: str) -> str:
    return "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) else f"~{byte:02x}" for byte in part.encode()
    )


def _decode(part: str) -> str:
    raw = re.sub(rb"~([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), part.encode())
    return raw.decode()
