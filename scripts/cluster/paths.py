"""Where the cluster keeps things: the repository, the cache, and the state directory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]

MARKER = "cluster.json"
"""Its presence says: this directory is a cluster's state, and may be removed by `down`."""

LONGEST_SOCKET_PATH = 107
"""Linux refuses a unix socket whose path has more bytes than this."""

SOCKET_BELOW_STATE = "/a/" + "0" * 36 + "/controller/secrets/api.sock"
"""The deepest socket Nomad makes: STATE/a is its allocation directory."""


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory for downloads, builds and virtual environments; may not exist yet."""
    base = environ.get("XDG_CACHE_HOME") or home(environ) / ".cache"
    return Path(base) / "nomad-build-service"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's home directory."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def default_state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a cluster lives: `NBS_STATE_DIR`, or a place that suits the user."""
    chosen = environ.get("NBS_STATE_DIR")
    if chosen:
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/nbs-demo")
    base = environ.get("XDG_STATE_HOME") or home(environ) / ".local" / "state"
    return Path(base) / "nbs-demo"


def throw_away_state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return a new short path beside where a lasting cluster lives, on the same file system."""
    return default_state_directory(environ).parent / f"nbs-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class StateDirectory:
    """The layout below one cluster's state directory.

    Names are short on purpose: Nomad's task sockets lie below `allocations`, and a socket's
    path is limited to 107 bytes.
    """

    root: Path

    @property
    def marker(self) -> Path:
        """The file that says: this directory is a cluster's, and may be removed by `down`."""
        return self.root / MARKER

    @property
    def temporary(self) -> Path:
        """Where the servers put temporary files; Nomad leaves sockets of its plugins there."""
        return self.root / "tmp"

    @property
    def bin(self) -> Path:
        """Return where the programs are, for PATH."""
        return self.root / "bin"

    @property
    def node(self) -> Path:
        """The installation prefix, as a build node has it in /opt/nomad-build-service."""
        return self.root / "node"

    @property
    def storage(self) -> Path:
        """Image layers and build caches, owned by the task user."""
        return self.root / "storage"

    @property
    def allocations(self) -> Path:
        """Return Nomad's allocation directory."""
        return self.root / "a"

    @property
    def logs(self) -> Path:
        """Return where every server's log is."""
        return self.root / "logs"

    @property
    def config(self) -> Path:
        """Return where rendered configuration is."""
        return self.root / "config"

    @property
    def cacert(self) -> Path:
        """The certificate of the cluster's own authority, for everybody to read."""
        return self.root / "ca.pem"

    @property
    def secrets(self) -> Path:
        """Return where keys and passwords are; only the owner may look in."""
        return self.root / "secrets"

    @property
    def processes(self) -> Path:
        """Return where the records of running servers are."""
        return self.root / "processes"

    def data(self, name: str) -> Path:
        """Return the data directory of a server."""
        return self.root / "data" / name

    def log(self, name: str) -> Path:
        """Return the log file of a server."""
        return self.logs / f"{name}.log"

    def require_short(self) -> None:
        """Refuse a root so long that Nomad could not make its task sockets."""
        length = len(os.fsencode(str(self.root))) + len(SOCKET_BELOW_STATE)
        if length > LONGEST_SOCKET_PATH:
            longest = LONGEST_SOCKET_PATH - len(SOCKET_BELOW_STATE)
            raise ClusterError(
                f"the state directory {self.root} is too long: Nomad makes unix sockets below it,"
                f" so it may have {longest} bytes at most. Set NBS_STATE_DIR to a shorter path"
            )
