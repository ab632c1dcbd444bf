"""Where one owner's layers live on this node, and what one build leaves in it for a while.

    STORAGE/<owner>/root        containers/storage graph root: layers shared by the owner's builds
    STORAGE/<owner>/cache       RUN --mount=type=cache
    STORAGE/<owner>/scratch/<alloc>/{src,tmp,run,home}   one build; gone when it ends

A build has a run root of its own: it lives in mount namespaces of its own, and what it leaves
mounted when it is killed must not confuse the next. Its working containers lie in the shared graph
root; each carries the allocation's ID as cgroup parent, which chroot isolation records and does not
use, so that exactly a build's own containers can be found and removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.tasks.environment import TaskEnvironment
from controller.tasks.isolation.platforms import is_foreign
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.process import Deadline

_CLEANUP_SECONDS = 120
_REGISTRIES_HEADER = """\
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"
"""
# An image comes from a registry, whatever a Dockerfile calls it: `oci:` or `dir:` would open files
# of the node. See containers-policy.json(5).
_REGISTRIES_ONLY = """\
{
  "default": [{"type": "reject"}],
  "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}
}
"""


class OwnerStorage:
    """One owner's storage as one build uses it. Making an instance creates nothing."""

    def __init__(self, environment: TaskEnvironment, request: Mapping[str, Any]) -> None:
        self._environment = environment
        foreign = request["platforms"] if any(map(is_foreign, request["platforms"])) else ()
        self.directory = environment.owner_dir(request["owner"], foreign)
        self.scratch = self.directory / "scratch" / environment.alloc_id
        self.source = self.scratch / "src"
        # Buildah's SSH agent listens below TMPDIR, and a socket's path has at most 107 bytes:
        # 68 of them are ours and Buildah's, so 39 are left for the operator's storage_dir.
        self._short = self.directory / environment.alloc_id[:8]

    def prepare(self) -> None:
        """Create what a build needs. Raises OSError."""
        cache = self.directory / "cache"
        for folder in (
            self.directory / "root",
            cache,
            self.scratch / "tmp",
            self.scratch / "run",
            self.scratch / "home",
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        # Buildah keeps cache mounts below TMPDIR; ours is the build's own, they are the owner's.
        _link(self.scratch / "tmp" / f"buildah-cache-{os.getuid()}", cache)
        _link(self._short, self.scratch / "tmp")
        registries_env(self._environment, self.scratch / "home")

    def env(self) -> dict[str, str]:
        """The environment of Buildah and skopeo: nothing of the node's agent, nothing secret."""
        return tool_env(self.scratch / "home") | {
            "TMPDIR": str(self._short),
            "XDG_RUNTIME_DIR": str(self.scratch / "run"),
        }

    def buildah(self, *arguments: str) -> list[str]:
        """A Buildah command line on this storage."""
        return [
            self._environment.buildah,
            "--root",
            str(self.directory / "root"),
            "--runroot",
            str(self.scratch / "run"),
            "--storage-driver",
            "overlay",
            *arguments,
        ]

    @property
    def own_containers(self) -> str:
        """The mark that this build's working containers carry (see the module's docstring)."""
        return f"nbs-{self._environment.alloc_id}"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a phase works on the storage, `image-prune` does not."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        with (self.directory / "lock").open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            for used in (self.directory / "lock", self.scratch):
                if used.exists():
                    os.utime(used)
            yield

    def remove_containers(self, sandbox: Sandbox, mark: str | None = None) -> list[str]:
        """Remove the working containers that carry a mark (default: this build's); their IDs."""
        mark = mark or self.own_containers
        found = [folder.name for folder, parent in containers(self.directory) if parent == mark]
        if found:
            sandbox.capture(self.buildah("rm", *found), Deadline.after(_CLEANUP_SECONDS))
        return found

    def remove_scratch(self, sandbox: Sandbox) -> None:
        """Remove the build's own files; those of subordinate ids by root of the namespace."""
        self._short.unlink(missing_ok=True)
        if not self.scratch.exists():
            return
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.scratch.exists():
            sandbox.capture(
                ["rm", "-rf", "--", str(self.scratch)], Deadline.after(_CLEANUP_SECONDS)
            )


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target)


def tool_env(home: Path) -> dict[str, str]:
    """The environment of Buildah, skopeo and their like, with a home directory of its own."""
    return {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "LANG": "C.UTF-8",
        "CONTAINERS_REGISTRIES_CONF": str(home / ".config/containers/registries.conf"),
        **{
            name: os.environ[name]
            for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")
            if name in os.environ
        },
    }


def registries_env(environment: TaskEnvironment, home: Path) -> dict[str, str]:
    """Write the registry settings below `home`; the environment that makes tools use them."""
    config = home / ".config" / "containers"
    config.mkdir(parents=True, exist_ok=True)
    (config / "registries.conf").write_text(
        _REGISTRIES_HEADER
        + "".join(
            f"[[registry]]\nlocation = {json.dumps(host)}\ninsecure = true\n"
            for host in environment.insecure_registries
        )
    )
    (config / "policy.json").write_text(_REGISTRIES_ONLY)
    return tool_env(home)


def stored_images(owner_directory: Path) -> list[dict[str, Any]]:
    """An owner's images as containers/storage lists them: `id`, `digest`, `names` and more."""
    try:
        images: list[dict[str, Any]] = json.loads(
            (owner_directory / "root/overlay-images/images.json").read_bytes()
        )
    except (OSError, ValueError):
        return []
    return images


def image_ids(owner_directory: Path) -> dict[str, str]:
    """The IDs of an owner's images by their names, as they are and without what is understood."""
    found: dict[str, str] = {}
    for image in stored_images(owner_directory):
        for name in image.get("names") or ():
            short = name.removeprefix("docker.io/").removeprefix("library/")
            for one in (name, short, name.removesuffix(":latest"), short.removesuffix(":latest")):
                found[one] = image["id"]
    return found


def containers(owner_directory: Path) -> Iterator[tuple[Path, str]]:
    """Every working container of an owner's graph root, with the mark of its build."""
    base = owner_directory / "root" / "overlay-containers"
    try:
        folders = [entry for entry in base.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return
    for folder in folders:
        try:
            state = json.loads((folder / "userdata" / "buildah.json").read_bytes())
        except (OSError, ValueError):
            continue  # being created or removed at this very moment by a build that is alive
        yield folder, str((state.get("CommonBuildOpts") or {}).get("CgroupParent", ""))
