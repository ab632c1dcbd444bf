"""Removing a cluster: every process, mount and file it made, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path

from .errors import ClusterError
from .paths import StateDirectory
from .process import marked_processes
from .waiting import wait_for


def kill_remaining_processes(root: Path) -> list[int]:
    """Kill whatever still descends from the cluster's servers; returns the pids."""
    found = marked_processes(root)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(
        f"the last processes of {root} ended",
        lambda: not set(found) & set(marked_processes(root)),
        seconds=10,
    )
    return found


def mounts_below(root: Path) -> list[str]:
    """Return the mount points below `root`, deepest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(f"{root}/"):
            points.append(point)
    return sorted(points, key=len, reverse=True)


def unmount_all(root: Path) -> None:
    """Undo every mount below `root`."""
    for point in mounts_below(root):
        done = subprocess.run(["umount", "--lazy", point], capture_output=True, text=True)
        if done.returncode != 0 and point in mounts_below(root):
            raise ClusterError(f"cannot unmount {point}: {done.stderr.strip()}")


def remove_files(state: StateDirectory) -> None:
    """Remove the state directory, with what belongs to subordinate user ids.

    Refuses a directory without the cluster's marker: `NBS_STATE_DIR=/home/me` must not cost
    somebody their home.
    """
    root = state.root
    if not root.exists():
        return
    if not state.marker.exists():
        raise ClusterError(
            f"{root} has no {state.marker.name}, so it is not a cluster's state directory;"
            " nothing was removed"
        )
    if os.geteuid() != 0:
        # Files of image layers belong to subordinate ids, which this user may remove only from
        # inside a user namespace that maps them.
        subprocess.run(
            [
                "unshare",
                "--user",
                "--map-root-user",
                "--map-auto",
                "--",
                "find",
                str(root),
                "-mindepth",
                "1",
                "-delete",
            ],
            capture_output=True,
            check=False,
        )
    try:
        shutil.rmtree(root)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ClusterError(f"cannot remove {error.filename}: {error.strerror}") from error


def remove_nomad_cgroups(allocations: Collection[str], before: Collection[str]) -> None:
    """Remove the control groups that our agent left.

    Those of our allocations always; the ones that all agents of the machine share (`nomad` and
    what lies right below) only when they were not there before us and no other agent runs.
    """
    alone = not _nomad_agents()
    for path in sorted(nomad_cgroups(), key=len, reverse=True):
        ours = path.rpartition("/")[2][:36] in allocations
        if ours or (alone and path not in before):
            with contextlib.suppress(OSError):  # another agent's tasks are in it
                Path(path).rmdir()


def nomad_cgroups() -> frozenset[str]:
    """Return the paths of all control groups below any `nomad` or `nomad.slice` group."""
    found: set[str] = set()
    for pattern in ("*/nomad", "nomad.slice"):
        for top in Path("/sys/fs/cgroup").glob(pattern):
            found.update(directory for directory, _, _ in os.walk(top))
    return frozenset(found)


def _nomad_agents() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (entry / "comm").read_text().strip() == "nomad":
                    found.append(int(entry.name))
    return found
