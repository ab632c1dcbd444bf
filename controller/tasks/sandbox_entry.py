"""The first program inside a sandbox with a network of its own; it becomes the real one.

It runs as root of the new namespaces, before any untrusted code: brings loopback up, says that it
is there, waits until the network is connected, closes the near addresses off, and replaces itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8  # mount(2)
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_FAILED = 125  # Buildah's own exit code for 'not started'


def enter(spec: str) -> int:
    """Prepare the namespaces as `spec` (JSON, made by `Sandbox`) says, and exec its argv.

    Returns only where it cannot: an exit code.
    """
    wanted = json.loads(spec)
    _loopback_up()
    _own_sysfs()
    _emulate(wanted["emulators"])
    os.write(wanted["ready_fd"], b"1")
    os.close(wanted["ready_fd"])
    told = os.read(wanted["go_fd"], 1)
    os.close(wanted["go_fd"])
    if not told:  # the runner died or found the network wanting
        return _FAILED
    _be_killed_first()
    if wanted["routes"]:
        done = subprocess.run(
            ["ip", "-batch", "-"], input=wanted["routes"], text=True, capture_output=True
        )
        if done.returncode:
            print(
                f"the build's network could not be closed off: {done.stderr.strip()}",
                file=sys.stderr,
            )
            return _FAILED
    return _become(wanted["argv"])


def _become(argv: list[str]) -> NoReturn:
    os.execvp(argv[0], argv)  # noqa: S606  no shell is the point


def _be_killed_first() -> None:
    """Where memory runs out, the kernel shall take untrusted code, not the runner that reports."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _own_sysfs() -> None:
    """Show the sandbox's own network under /sys, or none: the mount before it shows the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if libc.mount(b"sysfs", b"/sys", b"sysfs", flags, None):
        # Refused where parts of /sys are masked (docker): what names interfaces is covered.
        for folder in (b"/sys/class/net", b"/sys/devices/virtual/net"):
            libc.mount(b"tmpfs", folder, b"tmpfs", flags, None)


def _emulate(registrations: list[str]) -> None:
    """Register emulators for this user namespace: Linux 6.7 and later keep them apart."""
    if not registrations:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    try:
        if libc.mount(b"binfmt_misc", os.fsencode(_BINFMT), b"binfmt_misc", flags, None):
            raise OSError(ctypes.get_errno(), "binfmt_misc cannot be mounted")
        for line in registrations:
            (_BINFMT / "register").write_text(line)
    except OSError as error:
        print(f"programs of other platforms cannot be run: {error}", file=sys.stderr, flush=True)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", _IFF_UP_RUNNING, b"")
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
