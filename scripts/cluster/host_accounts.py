"""Users and subordinate id ranges of a build node. Standard library only."""

from __future__ import annotations

import pwd
import subprocess
from pathlib import Path

from .errors import ClusterError

RANGE = 65536
"""How many subordinate ids a user needs for rootless builds of ordinary images."""

FIRST = 100000


def exists(name: str) -> bool:
    """Say whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_range(name: str, file: Path) -> bool:
    """Say whether `file` (/etc/subuid or /etc/subgid) gives `name` a whole range."""
    uid = str(pwd.getpwnam(name).pw_uid) if exists(name) else ""
    return any(owner in (name, uid) and count >= RANGE for owner, _, count in _entries(file))


def next_free(*files: Path) -> int:
    """Return the first id of a range that overlaps nobody's in any of the files."""
    taken = [(start, start + count) for file in files for _, start, count in _entries(file)]
    start = FIRST
    while any(start < end and begin < start + RANGE for begin, end in taken):
        start += RANGE
    return start


def make_user(name: str, *, shell: str, home: str | None) -> None:
    """Make a user that nobody can log in as by password; with `home` None it has none."""
    where = (
        ["--create-home", "--home-dir", home] if home else ["--no-create-home", "--home-dir", "/"]
    )
    kind = [] if home else ["--system"]
    _run(["useradd", *kind, *where, "--shell", shell, "--password", "*", name])


def give_range(name: str) -> None:
    """Give `name` the same free range of subordinate user and group ids, where it has none."""
    uids, gids = Path("/etc/subuid"), Path("/etc/subgid")
    start = next_free(uids, gids)
    end = start + RANGE - 1
    if not has_range(name, uids):
        _run(["usermod", "--add-subuids", f"{start}-{end}", name])
    if not has_range(name, gids):
        _run(["usermod", "--add-subgids", f"{start}-{end}", name])


def _entries(file: Path) -> list[tuple[str, int, int]]:
    if not file.exists():
        return []
    entries = []
    for line in file.read_text().splitlines():
        parts = line.split(":")
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            entries.append((parts[0], int(parts[1]), int(parts[2])))
    return entries


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)}: {done.stderr.strip()}")
