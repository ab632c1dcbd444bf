"""A failure of Buildah's that says nothing about the build: it did not start the command.

Before each command, Buildah copies itself into a memory file and seals it (go.podman.io/storage,
pkg/unshare/unshare.c). Where the kernel still holds a reference to a fresh page of the copy, the
seal is refused with EBUSY, and the command was never started. It happens once in some hundred
commands on a busy node; trying again is right, and harms nobody who prints these words himself.
"""

from __future__ import annotations

ATTEMPTS = 3
_REFUSED = "Close_Fd sealing memfd copy: Device or resource busy"


def refused(line: str) -> bool:
    """Whether a line of standard error says so."""
    return line == _REFUSED
