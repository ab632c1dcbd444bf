"""A Docker engine of the cluster's own: root only, and not one of the servers that always run.

It shares nothing with an engine of the machine: socket, data, control group and bridge are its own,
and it changes neither the packet filter nor the forwarding of the machine. So its containers reach
the machine and each other, and not the world.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ClusterError
from ..paths import StateDirectory
from ..waiting import wait_for
from .server import Server

_RANGE = ipaddress.ip_network("172.20.0.0/14")
"""Where the engine's networks come from: the first part that no route of the machine has."""

_SIZE = 20


def docker_host(state: StateDirectory) -> str:
    """Return the engine's address as DOCKER_HOST has it."""
    return f"unix://{state.root}/docker.sock"


class Docker(Server):
    """The engine. `start` needs root and Debian's package docker.io."""

    name = "docker"

    @property
    def host(self) -> str:
        """Return the engine's address as DOCKER_HOST has it."""
        return docker_host(self.state)

    @property
    def gateway(self) -> str:
        """Return the machine's address on the bridge: what containers see of it."""
        return str(next(self._networks()[0].hosts()))

    @property
    def _mark(self) -> str:
        """Name bridge and control group; an interface's name has 15 characters at most."""
        digest = hashlib.sha256(str(self.state.root).encode()).hexdigest()
        return f"nbs-{digest[:8]}"

    @property
    def _exec_root(self) -> Path:
        return self.state.data("docker-run")

    def prepare(self) -> Sequence[str]:
        """Make the bridge, write the configuration; return the command line."""
        if os.geteuid() != 0:
            raise ClusterError("the Docker engine of the tests needs root: run them as root")
        self._exec_root.mkdir(parents=True, exist_ok=True)
        network, pool = self._networks()
        if not _has_link(self._mark):
            _ip("link", "add", self._mark, "type", "bridge")
            _ip("address", "add", f"{self.gateway}/{network.prefixlen}", "dev", self._mark)
            _ip("link", "set", self._mark, "up")
        config = self.render(
            "docker.json",
            host=self.host,
            data_dir=self.data_directory(0o711),
            exec_dir=self._exec_root,
            cgroup=self._mark,
            bridge=self._mark,
            network=network,
            pool=pool,
        )
        return ["dockerd", f"--config-file={config}"]

    def ready(self) -> bool:
        """The engine answers."""
        return self.run("version", check=False).returncode == 0

    def stop(self, *, seconds: float = 30) -> None:
        """End the engine with its containers, and remove its bridge and control groups."""
        super().stop(seconds=seconds)
        if os.geteuid() != 0:
            return
        self._end_containers()
        if _has_link(self._mark):
            _ip("link", "delete", self._mark)
        for group in _groups(self._mark):
            with contextlib.suppress(OSError):
                group.rmdir()

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `docker` command with this engine."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.host},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def _end_containers(self) -> None:
        """Kill what an engine that was killed left running."""

        def left() -> list[int]:
            return [
                int(pid)
                for group in _groups(self._mark)
                for pid in _read(group / "cgroup.procs").split()
            ]

        for pid in left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for("the engine's containers ended", lambda: not left(), seconds=10)

    def _networks(self) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Network]:
        """Return the bridge's network and the pool of further ones, chosen once."""
        file = self.state.root / "docker-networks.json"
        if file.exists():
            first, pool = json.loads(file.read_text())
        else:
            taken = _routes()
            for free in _RANGE.subnets(new_prefix=_SIZE):
                if not any(free.overlaps(network) for network in taken):
                    break
            else:
                raise ClusterError(f"no free network for the Docker engine in {_RANGE}")
            lower, upper = free.subnets()
            first, pool = str(next(lower.subnets(new_prefix=24))), str(upper)
            file.write_text(json.dumps([first, pool]) + "\n")
        return ipaddress.IPv4Network(first), ipaddress.IPv4Network(pool)


def _routes() -> list[ipaddress.IPv4Network]:
    shown = json.loads(_ip("-json", "-4", "route", "show", "table", "all") or "[]")
    names = [str(route["dst"]) for route in shown]
    return [ipaddress.IPv4Network(name) for name in names if name[0].isdigit()]


def _has_link(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def _groups(name: str) -> Iterator[Path]:
    """All control groups below the engine's, deepest first."""
    tops = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), *Path("/sys/fs/cgroup").glob(name)]
    found = [Path(folder) for top in tops for folder, _, _ in os.walk(top)]
    yield from sorted(found, key=lambda path: len(path.parts), reverse=True)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
