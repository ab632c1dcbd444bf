"""The first program inside a sandbox with a network of its own; it becomes the real one.

It runs as root of the new namespaces, before any untrusted code: says that it is there, waits until
the network is connected, brings loopback up and closes the near addresses off, and replaces itself.

Every RUN step and test command waits for it, so it imports what it needs for that and no more.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8  # mount(2)
_BINFMT = "/proc/sys/fs/binfmt_misc"
_LOOPBACK = "link set dev lo up\n"
_FAILED = 125  # Buildah's own exit code for 'not started'


def arguments(
    ready_fd: int, go_fd: int, routes: str, emulators: Sequence[str], argv: Sequence[str]
) -> list[str]:
    """What `enter` is called with: routes as an `ip` batch, emulators as the kernel takes them."""
    return [str(ready_fd), str(go_fd), routes, "\n".join(emulators), *argv]


def enter(given: Sequence[str]) -> int:
    """Prepare the namespaces as `arguments` says, and exec its argv.

    Returns only where it cannot: an exit code.
    """
    ready_fd, go_fd, routes, emulators, *argv = given
    _own_sysfs()
    _emulate(emulators.splitlines())
    os.write(int(ready_fd), b"1")
    os.close(int(ready_fd))
    told = os.read(int(go_fd), 1)
    os.close(int(go_fd))
    if not told:  # the runner died or found the network wanting
        return _FAILED
    _be_killed_first()
    if _ip(_LOOPBACK + routes):
        print("the build's network could not be closed off", file=sys.stderr)
        return _FAILED
    return _become(argv)


def _ip(batch: str) -> int:
    """Run the commands of `ip`, none after one that fails; its exit code, its words on stderr."""
    read, write = os.pipe()
    pid = os.posix_spawnp(
        "ip", ["ip", "-batch", "-"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, read, 0)]
    )
    os.close(read)
    with open(write, "w", encoding="ascii") as commands:  # noqa: PTH123  a descriptor, no path
        commands.write(batch)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(argv: list[str]) -> NoReturn:
    os.execvp(argv[0], argv)  # noqa: S606  no shell is the point


def _be_killed_first() -> None:
    """Where memory runs out, the kernel shall take untrusted code, not the runner that reports."""
    try:
        _write("/proc/self/oom_score_adj", "1000")
    except OSError:
        return  # it is a preference: without it all is as safe


def _own_sysfs() -> None:
    """Show the sandbox's own network under /sys, or none: the mount before it shows the host's."""
    if _mount("sysfs", "/sys", read_only=True):
        # Refused where parts of /sys are masked (docker): what names interfaces is covered.
        for folder in ("/sys/class/net", "/sys/devices/virtual/net"):
            _mount("tmpfs", folder, read_only=True)


def _emulate(registrations: Sequence[str]) -> None:
    """Register emulators for this user namespace: Linux 6.7 and later keep them apart."""
    if not registrations:
        return
    try:
        if number := _mount("binfmt_misc", _BINFMT):
            raise OSError(number, "binfmt_misc cannot be mounted")
        for line in registrations:
            _write(f"{_BINFMT}/register", line)
    except OSError as error:
        print(f"programs of other platforms cannot be run: {error}", file=sys.stderr, flush=True)


def _mount(kind: str, target: str, *, read_only: bool = False) -> int:
    """Mount a file system of the kernel's; 0, or the number of what the kernel says instead."""
    import ctypes  # here, since the runner imports this module as well

    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | (_MS_RDONLY if read_only else 0)
    failed = libc.mount(kind.encode(), target.encode(), kind.encode(), flags, None)
    return ctypes.get_errno() if failed else 0


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123  see the module's docstring
        file.write(text)
