"""The accounts that the cluster's programs run as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ClusterError


@dataclass(frozen=True)
class Account:
    """A local user: name, numeric ids, home and login shell."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str) -> Account:
        """Return the account called `name`; ClusterError where there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ClusterError(
                f"there is no user {name} on this machine; scripts/node-setup makes it"
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @classmethod
    def current(cls) -> Account:
        """Return the account of this process."""
        entry = pwd.getpwuid(os.geteuid())
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @property
    def is_current(self) -> bool:
        """Say whether this process already runs as this account."""
        return self.uid == os.geteuid()

    def popen_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that make `subprocess` run something as this account."""
        if self.is_current:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give `path` itself to this account (nothing below it)."""
        if not self.is_current:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def demo_account() -> Account:
    """Return who runs the registry and the Git servers: never root."""
    return Account.named("nbs-demo") if os.geteuid() == 0 else Account.current()


def task_account() -> Account:
    """Return who builds: the user `build` under a root agent, else the user at hand."""
    return Account.named("build") if os.geteuid() == 0 else Account.current()
