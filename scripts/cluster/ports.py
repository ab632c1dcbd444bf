"""Free loopback ports, chosen once for a cluster and kept over its restarts."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from .errors import ClusterError

DYNAMIC_PORTS = 200
"""How many ports one Nomad client may hand out to its tasks."""


class Ports:
    """Named ports kept in a JSON file.

    The ports come from below the kernel's ephemeral range, so that an outgoing connection of
    some other program cannot take one of them while its server restarts.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ports: dict[str, int] = {}
        if file.exists():
            self._ports = json.loads(file.read_text())

    def get(self, name: str) -> int:
        """Return the port called `name`, choosing a free one the first time."""
        if name not in self._ports:
            self._ports[name] = self._choose(1)
            self._save()
        return self._ports[name]

    def dynamic_range(self) -> tuple[int, int]:
        """Return (lowest, highest) of the ports that Nomad hands out to tasks.

        Two clusters on one machine do not know of each other, so each gets its own range.
        """
        if "dynamic" not in self._ports:
            self._ports["dynamic"] = self._choose(DYNAMIC_PORTS)
            self._save()
        lowest = self._ports["dynamic"]
        return lowest, lowest + DYNAMIC_PORTS - 1

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._ports, indent=1) + "\n")
        temporary.replace(self._file)

    def _choose(self, count: int) -> int:
        taken: set[int] = set()
        for name, port in self._ports.items():
            taken.update(range(port, port + (DYNAMIC_PORTS if name == "dynamic" else 1)))
        for _ in range(500):
            first = random.randrange(20000, 32000 - count)
            wanted = range(first, first + count)
            if not taken.intersection(wanted) and all(is_free(port) for port in wanted):
                return first
        raise ClusterError(f"found no {count} free ports between 20000 and 32000 on 127.0.0.1")


def is_free(port: int) -> bool:
    """Say whether nothing listens on `port` of 127.0.0.1, for TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
