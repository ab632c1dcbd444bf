"""Git over SSH: OpenSSH's sshd on its own port, with its own host key, for Git only.

It runs as the demo account (or the user at hand), not as root: it can then log in that account
alone, which is all it is for. The one key that is let in may run one command.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .server import Server

GIT_ONLY = """\
#!/bin/sh
# Runs for every SSH login: fetching from a repository of this server, and nothing else.
set -eu
cd {repositories}
case "${{SSH_ORIGINAL_COMMAND:-}}" in
  "git-upload-pack '"*"'") ;;
  *) echo 'this server allows git fetch only' >&2; exit 1 ;;
esac
path=${{SSH_ORIGINAL_COMMAND#"git-upload-pack '"}}
path=${{path%"'"}}
case "$path" in
  *"'"*|*..*|*//*) echo 'no such repository' >&2; exit 1 ;;
esac
exec git-upload-pack --strict "./${{path#/}}"
"""


class GitSsh(Server):
    """The Git server for SSH."""

    name = "git-ssh"

    @property
    def port(self) -> int:
        """Return the port on 127.0.0.1."""
        return self.ports.get("git-ssh")

    def url(self, name: str, *, private: bool) -> str:
        """Return a repository's URL."""
        kind = "private" if private else "public"
        return f"ssh://{self.account.name}@127.0.0.1:{self.port}/{kind}/{name}.git"

    @property
    def client_key(self) -> Path:
        """The private key that is let in; readable by the cluster's owner only."""
        return self.state.secrets / "git-ssh-key"

    @property
    def known_hosts(self) -> str:
        """Return the known_hosts line that proves this server's host key."""
        public = (self.state.data(self.name) / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n"

    def prepare(self) -> Sequence[str]:
        """Make the keys, write the configuration; return the command line."""
        data = self.data_directory()
        host_key = data / "host_key"
        self._make_key(host_key, "nbs-demo host key")
        for file in (host_key, data / "host_key.pub"):
            self.account.own(file)
        self._make_key(self.client_key, "nbs-demo client key")
        command = self._executable(
            data / "git-only",
            GIT_ONLY.format(repositories=shlex.quote(str(self.state.data("git")))),
        )
        keys = data / "authorized_keys"
        public = self.client_key.with_suffix(".pub").read_text().strip()
        keys.write_text(f'restrict,command="{command}" {public}\n')
        keys.chmod(0o600)
        self.account.own(keys)
        config = self.render(
            "sshd_config",
            port=self.port,
            host_key=host_key,
            authorized_keys=keys,
            user=self.account.name,
        )
        return ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]

    def ready(self) -> bool:
        """The server sends its version line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            return connection.recv(8).startswith(b"SSH-2.0")

    def _make_key(self, path: Path, comment: str) -> None:
        if path.exists():
            return
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
            check=True,
        )

    def _executable(self, path: Path, text: str) -> Path:
        path.write_text(text)
        path.chmod(0o755)
        self.account.own(path)
        return path
