"""What RUN steps are given beside the build context: secrets and SSH agents.

The values lie as files of mode 0600 in the task's secrets directory, in memory, while Buildah runs
and no longer. RUN steps see them at the mounts that they ask for; layers never hold them. An SSH
key stays with Buildah, which answers as the step's agent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `finish` reads DIRECTORY, and has nothing to do with Vault
    from controller.tasks.vault import VaultSession

DIRECTORY = "run-mounts"  # below the task's secrets directory
_SSH_KEY = (("ssh_key",),)


@dataclass(frozen=True, slots=True)
class RunMounts:
    """The values by their ids: of `type=secret` and of `type=ssh`."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    ssh_keys: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def options(self, secrets_dir: Path) -> Iterator[list[str]]:
        """Buildah's options that give them, while their files exist."""
        folder = secrets_dir / DIRECTORY
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            options = []
            for number, (name, value) in enumerate(self.secrets.items()):
                file = _write(folder / f"secret-{number}", value)
                options += ["--secret", f"id={name},type=file,src={file}"]
            for number, (name, value) in enumerate(self.ssh_keys.items()):
                # OpenSSH's own reader wants the line end that people lose on the way into Vault.
                file = _write(folder / f"ssh-{number}", value.rstrip() + "\n")
                options += ["--ssh", f"{name}={file}"]
            yield options
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def read(
    vault: VaultSession, build_secrets: Mapping[str, str], build_ssh: Mapping[str, str]
) -> RunMounts:
    """Read the values that a request names. Raises PhaseFailed as `VaultSession.read` does."""
    secrets = {}
    for name, given in build_secrets.items():
        path, _, wanted = given.partition("#")
        secrets[name] = vault.read(path, ((wanted,),))[wanted]
    keys = {name: vault.read(path, _SSH_KEY)["ssh_key"] for name, path in build_ssh.items()}
    return RunMounts(secrets, keys)


def _write(path: Path, value: str) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
        file.write(value)
    return path
