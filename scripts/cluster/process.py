"""Server processes: started in their own process group, recorded, and never mistaken.

A record holds the pid, the kernel's start time of that pid, and the boot it belongs to. A pid
counts as ours only while all three agree, so a recycled pid is never killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .account import Account
from .errors import ClusterError
from .waiting import tail, wait_for

MARK = "NBS_CLUSTER_ROOT"
"""Environment variable every process of a cluster carries; its value is the state directory."""


@dataclass(frozen=True)
class Record:
    """Which process it was: pid, start time in clock ticks, and the boot's id."""

    pid: int
    started: int
    boot: str


def start_time(pid: int) -> int | None:
    """Return the start time of `pid` in clock ticks since boot; None if dead or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Process:
    """One long-lived program of the cluster."""

    def __init__(self, name: str, records: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self._file = records / f"{name}.json"
        self._child: subprocess.Popen[bytes] | None = None

    def record(self) -> Record | None:
        """Return what was written at the last start, or None."""
        try:
            return Record(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    @property
    def pid(self) -> int | None:
        """Return the pid while the recorded process lives, else None."""
        if self._child is not None:
            self._child.poll()  # reap it, so that a dead child does not linger as a zombie
        record = self.record()
        if record is None or record.boot != boot_id():
            return None
        return record.pid if start_time(record.pid) == record.started else None

    def start(
        self,
        argv: Sequence[str],
        *,
        account: Account,
        environ: Mapping[str, str],
        directory: Path,
    ) -> None:
        """Start the program, its output appended to the log, and write its record."""
        with self.log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environ),
                    cwd=directory,
                    start_new_session=True,
                    **account.popen_arguments(),
                )
            except FileNotFoundError:
                raise ClusterError(
                    f"{self.name}: {argv[0]} is not installed; scripts/node-setup"
                    " --with-demo-servers installs it"
                ) from None
        self._child = child
        started = start_time(child.pid)
        if started is None:
            raise ClusterError(f"{self.name} ended at once; end of {self.log}:\n{tail(self.log)}")
        temporary = self._file.with_suffix(".new")
        record = Record(child.pid, started, boot_id())
        temporary.write_text(json.dumps(record.__dict__) + "\n")
        temporary.replace(self._file)

    def require_alive(self) -> bool:
        """Return True while the process lives; ClusterError with its last words otherwise."""
        if self.pid is None:
            raise ClusterError(f"{self.name} ended; end of {self.log}:\n{tail(self.log)}")
        return True

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group; nothing if it is dead."""
        pid = self.pid
        if pid is None:
            return
        try:
            if group:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            return

    def stop(self, *, seconds: float = 10, force: bool = False) -> None:
        """End the process: SIGTERM, then SIGKILL to its group after `seconds` (or at once)."""
        if not force:
            self.signal(signal.SIGTERM)
            try:
                wait_for(f"{self.name} ended", lambda: self.pid is None, seconds=seconds)
            except ClusterError:
                force = True
        if force:
            self.signal(signal.SIGKILL, group=True)
            wait_for(f"{self.name} ended after SIGKILL", lambda: self.pid is None, seconds=10)
        self._file.unlink(missing_ok=True)


def marked_processes(root: Path) -> list[int]:
    """Return the pids of all processes that descend from the cluster in `root`.

    They are known by an environment variable that only the cluster's own servers are given
    and their children inherit.
    """
    wanted = f"{MARK}={root}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if wanted in environ.split(b"\0"):
            found.append(int(entry.name))
    return found
