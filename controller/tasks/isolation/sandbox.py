"""Namespaces around Buildah, so that RUN steps and tests see nothing of the node.

Chroot isolation, the only one that works for an ordinary user in every driver, shares the network
and the process IDs of whoever runs Buildah. So Buildah itself runs in user, mount, PID, IPC and UTS
namespaces of its own (`unshare`): what it starts sees no other process, and all of it dies with the
outermost one. For untrusted code a network namespace is added:

- `Network.NONE`: nothing but a loopback interface of its own.
- `Network.EGRESS`: the outside world through slirp4netns, but neither the host's loopback, nor any
  address of the host, nor private or link-local ranges, except what the pack allows.

Where the wanted isolation cannot be had, PhaseFailed says so; there is no fallback to the host's.
"""

from __future__ import annotations

import enum
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.isolation import sandbox_entry
from controller.tasks.isolation.routes import batch as route_batch
from controller.tasks.process import Deadline, OnLine, Program, capture

_PROBE_SECONDS = 10
_NAMESPACES = (
    "--user",
    "--map-root-user",
    "--map-auto",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--ipc",
    "--uts",
)


class Network(enum.Enum):
    """Which network the programs in a sandbox have."""

    HOST = "host"  # for the runner's own pulls and pushes, never while untrusted code runs
    NONE = "none"
    EGRESS = "egress"


def ulimits(*, processes: int) -> list[str]:
    """Buildah's options that bound processes, open files and core dumps of what it runs.

    No limit can be raised beyond what this process may have itself.
    """
    wanted = (
        ("nproc", resource.RLIMIT_NPROC, processes),
        ("nofile", resource.RLIMIT_NOFILE, 65536),
        ("core", resource.RLIMIT_CORE, 0),
    )
    options = []
    for name, number, limit in wanted:
        hard = resource.getrlimit(number)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        options += ["--ulimit", f"{name}={value}:{value}"]
    return options


class Sandbox:
    """Runs programs as root of fresh namespaces that map to this user and its subordinate ids."""

    def __init__(self, env: Mapping[str, str], *, driver: str, allow: Sequence[str] = ()) -> None:
        uid, gid = os.getuid(), os.getgid()
        # Tells containers/storage that the user namespace it finds itself in is ready for use.
        self._env = {
            **env,
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(uid),
            "_CONTAINERS_ROOTLESS_GID": str(gid),
        }
        self._in_container = driver == "docker"
        # Docker masks /proc, which forbids mounting a new one; the container's own stays in view.
        self._mount_proc = () if self._in_container else ("--mount-proc",)
        self._allow = tuple(allow)
        self._emulators: tuple[str, ...] = ()

    def emulate(self, registrations: Sequence[str]) -> None:
        """Let untrusted code use these emulators (see `platforms.registration`) from now on."""
        self._emulators = tuple(registrations)

    def probe(self, argv: Sequence[str]) -> str:
        """Standard output of a trusted program that proves that namespaces can be had here.

        Raises PhaseFailed: UserNamespaceUnavailable, or NodeNotPrepared where there is no such
        program. Under some seccomp profiles `unshare --map-auto` hangs, hence the time limit.
        """
        try:
            code, output, said = self.capture(argv, Deadline.after(_PROBE_SECONDS))
        except DeadlinePassed as error:
            raise PhaseFailed(
                "UserNamespaceUnavailable",
                "creating namespaces hangs on this node: its seccomp profile blocks unshare, clone "
                "or mount",
            ) from error
        except OSError as error:
            raise PhaseFailed("NodeNotPrepared", f"unshare cannot be run: {error}") from error
        # unshare's words: the namespaces are there. Of newuidmap it says so where they are not.
        if code and f"failed to execute {argv[0]}:" in said:
            raise PhaseFailed("NodeNotPrepared", f"{argv[0]} cannot be run: {said.strip()}")
        if code:
            message = f"{argv[0]} cannot be run in a namespace: {said.strip()}"
            if self._in_container and "unshare failed" in said:
                message += "; the container's seccomp or AppArmor profile forbids namespaces"
            raise PhaseFailed("UserNamespaceUnavailable", message)
        return output

    def run(
        self,
        argv: Sequence[str],
        on_line: OnLine,
        deadline: Deadline,
        *,
        network: Network = Network.HOST,
        cwd: Path | None = None,
    ) -> int:
        """Run a program to its end, `network` around it; its exit code (128 + N for signal N).

        Raises DeadlinePassed after killing it, PhaseFailed(NetworkIsolationUnavailable) before
        starting it.
        """
        if network is Network.HOST:
            program = Program(self._wrap(argv), env=self._env, cwd=cwd)
            return program.wait(on_line, deadline)
        return self._run_isolated(argv, on_line, deadline, network, cwd)

    def capture(self, argv: Sequence[str], deadline: Deadline) -> tuple[int, str, str]:
        """Run a trusted program on the host's network: exit code, standard output and error."""
        return capture(self._wrap(argv), deadline, env=self._env)

    def _wrap(self, argv: Sequence[str], *extra: str) -> list[str]:
        return ["unshare", *_NAMESPACES, *self._mount_proc, *extra, "--", *argv]

    def _run_isolated(
        self,
        argv: Sequence[str],
        on_line: OnLine,
        deadline: Deadline,
        network: Network,
        cwd: Path | None,
    ) -> int:
        ready_read, ready_write = os.pipe()
        go_read, go_write = os.pipe()
        slirp: _Slirp | None = None
        program: Program | None = None
        try:
            routes = route_batch(self._allow) if network is Network.EGRESS else ""
            inside = sandbox_entry.arguments(ready_write, go_read, routes, self._emulators, argv)
            runner = str(Path(sys.argv[0]).resolve())
            program = Program(
                self._wrap([runner, "enter-sandbox", *inside], "--net"),
                env=self._env,
                cwd=cwd,
                pass_fds=(ready_write, go_read),
            )
            os.close(ready_write)
            os.close(go_read)
            ready_write = go_read = -1
            if os.read(ready_read, 1) and network is Network.EGRESS:
                # unshare itself is in the new namespaces too, only not in the PID namespace.
                slirp = _Slirp(program.pid, self._env)
            os.write(go_write, b"1")
            return program.wait(on_line, deadline)
        except BrokenPipeError:
            # The program ended before it was told to go: its own words say why.
            if program is None:
                raise
            return program.wait(on_line, deadline)
        except BaseException:
            if program is not None:
                program.kill()
            raise
        finally:
            for fd in (ready_read, ready_write, go_read, go_write):
                if fd >= 0:
                    os.close(fd)
            if slirp is not None:
                slirp.stop()


class _Slirp:
    """A user-mode network for the namespaces of one process. Ends with the runner at the latest."""

    def __init__(self, pid: int, env: Mapping[str, str]) -> None:
        ready_read, ready_write = os.pipe()
        exit_read, self._exit_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    "slirp4netns",
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    f"--ready-fd={ready_write}",
                    f"--exit-fd={exit_read}",
                    "--netns-type=path",
                    f"--userns-path=/proc/{pid}/ns/user",
                    f"/proc/{pid}/ns/net",
                    "tap0",
                ],
                env=dict(env),
                pass_fds=(ready_write, exit_read),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._exit_write)
            os.close(ready_read)
            raise PhaseFailed(
                "NetworkIsolationUnavailable", f"slirp4netns cannot be run: {error}"
            ) from error
        finally:
            os.close(ready_write)
            os.close(exit_read)
        try:
            ready = os.read(ready_read, 1)
        finally:
            os.close(ready_read)
        if not ready:
            said = (
                self._process.stderr.read().decode("utf-8", "replace")
                if self._process.stderr
                else ""
            )
            self.stop()
            # Its last line names the child that failed, the one before what it failed at.
            last = "; ".join(said.strip().splitlines()[-3:]) or "it gave no message"
            raise PhaseFailed("NetworkIsolationUnavailable", f"slirp4netns failed: {last}")

    def stop(self) -> None:
        """End it and wait for its end."""
        os.close(self._exit_write)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()
