"""Passwords and tokens that the cluster makes up, kept in its state directory with mode 0600."""

from __future__ import annotations

import os
import secrets
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from .errors import ClusterError


def password(directory: Path, name: str) -> str:
    """Return the password kept as `name`, making it up the first time."""
    return _kept(directory / f"{name}.password", lambda: secrets.token_urlsafe(24))


def token(directory: Path, name: str) -> str:
    """Return the ACL token kept as `name`, a UUID as Nomad and Consul want them."""
    return _kept(directory / f"{name}.token", lambda: str(uuid.uuid4()))


def _kept(file: Path, make: Callable[[], str]) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        pass
    value = make()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(value)
    return value


def htpasswd_line(username: str, secret: str) -> str:
    """Return an htpasswd line with a bcrypt hash; the password goes in by stdin, not argv."""
    try:
        done = subprocess.run(
            ["htpasswd", "-n", "-i", "-B", username],
            input=secret,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ClusterError(
            "htpasswd is not installed (Debian package apache2-utils); scripts/node-setup"
            " --with-demo-servers installs it"
        ) from None
    if done.returncode != 0:
        raise ClusterError(f"htpasswd failed: {done.stderr.strip()}")
    return done.stdout.strip() + "\n"
