"""Git LFS behind the HTTP server of the repositories: Giftless, started only where it is wanted.

The Git server passes `…/info/lfs/` on, after its own password; what is behind a pointer is then
fetched from here, as from an object store, without one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from .. import installation
from ..http import status_of
from ..paths import REPOSITORY, cache_directory
from .server import Server

SOURCE = REPOSITORY / "nomad" / "toolchain" / "giftless"


class GitLfs(Server):
    """The LFS server for the repositories of `GitHttp`."""

    name = "git-lfs"

    @property
    def address(self) -> str:
        """Return the server's own URL, which clients are led to for the content."""
        return f"http://127.0.0.1:{self.ports.get('git-lfs')}"

    def prepare(self) -> Sequence[str]:
        """Install it where it is not; return the command line."""
        if not self._packages.exists():
            # The cache lies in somebody's home, which the server's account may not enter.
            shutil.copytree(
                installation.packages(cache_directory(), SOURCE / "requirements.lock"),
                self._packages,
            )
            shutil.copy2(SOURCE / "everyone.py", self._packages)
            for path in (self._packages, *self._packages.rglob("*")):
                self.account.own(path)
        return [
            installation.system_python(),
            "-m",
            "flask",
            "--app",
            "giftless.wsgi_entrypoint:app",
            "run",
            "--port",
            str(self.ports.get("git-lfs")),
        ]

    def environ(self) -> dict[str, str]:
        """Return the environment: its packages, where it keeps content, and that all may write."""
        content = str(self.data_directory() / "content")
        config = {
            "LEGACY_ENDPOINTS": False,
            "AUTH_PROVIDERS": ["everyone:identity"],
            "PRE_AUTHORIZED_ACTION_PROVIDER": None,
            "TRANSFER_ADAPTERS": {"basic": {"options": {"storage_options": {"path": content}}}},
        }
        return super().environ() | {
            "PYTHONPATH": str(self._packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIFTLESS_CONFIG_STR": json.dumps(config),
        }

    @property
    def _packages(self) -> Path:
        return self.data_directory() / "packages"

    def ready(self) -> bool:
        """It answers."""
        return status_of(f"{self.address}/") == 404
