"""Reading a registry with skopeo; the password goes by an auth file, never by argv."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError


@dataclass(frozen=True)
class Credentials:
    """A registry's HOST:PORT with the login for it."""

    host: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(host={self.host!r}, username={self.username!r}, password=…)"

    def auth_json(self) -> str:
        """Return the login as a containers auth file has it."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": pair}}})


@contextmanager
def auth_file(credentials: Credentials) -> Iterator[Path]:
    """Write a containers auth file (mode 0600) for the time of the `with` block."""
    with tempfile.TemporaryDirectory(prefix="nbs-auth-") as directory:
        path = Path(directory) / "auth.json"
        path.touch(mode=0o600)
        path.write_text(credentials.auth_json())
        yield path


def run(credentials: Credentials, *arguments: str) -> str:
    """Run one skopeo command and return its output; ClusterError with its words on failure."""
    with auth_file(credentials) as file:
        try:
            done = subprocess.run(
                ["skopeo", *arguments, f"--authfile={file}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(file.parent)},
            )
        except FileNotFoundError:
            raise ClusterError("skopeo is not installed; scripts/node-setup installs it") from None
    if done.returncode != 0:
        raise ClusterError(f"skopeo {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def inspect(credentials: Credentials, repository: str, reference: str, *options: str) -> str:
    """Run `skopeo inspect` on a tag or digest; returns what it printed."""
    separator = "@" if reference.startswith("sha256:") else ":"
    return run(
        credentials,
        "inspect",
        "--tls-verify=false",
        *options,
        f"docker://{credentials.host}/{repository}{separator}{reference}",
    )


def tags(credentials: Credentials, repository: str) -> list[str]:
    """Return the sorted tags of a repository; empty when the registry does not know it."""
    try:
        answer = run(
            credentials,
            "list-tags",
            "--tls-verify=false",
            f"docker://{credentials.host}/{repository}",
        )
    except ClusterError as error:
        text = str(error).lower()
        if "name unknown" in text or "repository name not known" in text or "404" in text:
            return []
        raise
    return sorted(json.loads(answer)["Tags"] or [])
