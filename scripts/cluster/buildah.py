"""Running buildah as the task account, in the same namespaces as the build service does."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import skopeo
from .account import Account
from .errors import ClusterError

BASE_IMAGE = "base/busybox:debian"
"""Repository and tag of the base image: Debian's busybox, in whichever version is installed."""

BUSYBOX = Path("/bin/busybox")

BASE_DOCKERFILE = """\
FROM scratch
COPY rootfs/ /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["/bin/sh"]
"""


LOOPBACK_UP = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""A new network namespace has a loopback interface, but it is down."""


@dataclass(frozen=True)
class RunResult:
    """What a command in an image did."""

    exit_code: int
    output: str


class Buildah:
    """buildah with a storage of its own below `root`, apart from the builds' storage."""

    def __init__(self, program: Path, root: Path, account: Account) -> None:
        self._program = program
        self._root = root
        self._account = account

    def make_base_image(self, credentials: skopeo.Credentials) -> str:
        """Build a busybox image from nothing and push it; return its reference.

        Base images cannot be taken from the internet in a closed test environment, and need not
        be: Debian's static busybox is one.
        """
        if not BUSYBOX.exists():
            raise ClusterError(
                "/bin/busybox is missing (Debian package busybox-static); scripts/node-setup"
                " --with-demo-servers installs it"
            )
        reference = f"{credentials.host}/{BASE_IMAGE}"
        with self.scratch() as scratch:
            context = scratch / "context"
            rootfs = context / "rootfs"
            for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev", "var/tmp"):
                (rootfs / name).mkdir(parents=True)
            for name in ("tmp", "var/tmp"):
                (rootfs / name).chmod(0o1777)
            shutil.copy2(BUSYBOX, rootfs / "bin" / "busybox")
            (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
            (rootfs / "etc" / "group").write_text("root:x:0:\n")
            (context / "Dockerfile").write_text(BASE_DOCKERFILE)
            auth = self.auth_file(scratch, credentials)
            self.give(scratch)
            self.run(
                [
                    "build",
                    "--isolation",
                    "chroot",
                    "--cap-drop",
                    "CAP_SYS_CHROOT",
                    "--tag",
                    reference,
                    str(context),
                ],
            )
            self.run(["push", "--tls-verify=false", "--authfile", str(auth), reference])
        return reference

    def run_image(
        self,
        credentials: skopeo.Credentials,
        reference: str,
        command: Sequence[str],
        *,
        seconds: float = 60,
    ) -> RunResult:
        """Pull an image and run a command in it, without network; its output is merged."""
        with self.scratch() as scratch:
            auth = self.auth_file(scratch, credentials)
            self.give(scratch)
            container = self.run(
                [
                    "from",
                    "--quiet",
                    "--pull-always",
                    "--tls-verify=false",
                    "--authfile",
                    str(auth),
                    reference,
                ],
            ).output.strip()
            try:
                return self.run(
                    [
                        "run",
                        "--isolation",
                        "chroot",
                        "--cap-drop",
                        "CAP_SYS_CHROOT",
                        container,
                        "--",
                        *command,
                    ],
                    network=False,
                    check=False,
                    seconds=seconds,
                )
            finally:
                self.run(["rm", container])

    def image_command(self, config: Mapping[str, object]) -> list[str]:
        """Return ENTRYPOINT and CMD of an image configuration as one command line."""
        inner = config.get("config")
        settings = inner if isinstance(inner, dict) else {}
        return [*(settings.get("Entrypoint") or []), *(settings.get("Cmd") or [])]

    def scratch(self) -> Scratch:
        """Return a directory of the task account that vanishes with the `with` block."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._account.own(self._root)
        return Scratch(self._root)

    def auth_file(self, scratch: Path, credentials: skopeo.Credentials) -> Path:
        """Write a containers auth file into a scratch directory."""
        path = scratch / "auth.json"
        path.touch(mode=0o600)
        path.write_text(credentials.auth_json())
        return path

    def give(self, root: Path) -> None:
        """Make the task account the owner of a tree."""
        for path in [root, *root.rglob("*")]:
            self._account.own(path)

    def run(
        self,
        arguments: Sequence[str],
        *,
        network: bool = True,
        check: bool = True,
        seconds: float = 120,
    ) -> RunResult:
        """Run one buildah command; stderr is merged into the output unless it is checked."""
        with self.start(arguments, network=network, merged=not check) as started:
            try:
                output, errors = started.communicate(timeout=seconds)
            except BaseException:
                started.kill()
                raise
        if check and started.returncode != 0:
            raise ClusterError(f"buildah {arguments[0]}: {errors.decode(errors='replace').strip()}")
        return RunResult(started.returncode, output.decode(errors="replace"))

    def start(
        self, arguments: Sequence[str], *, network: bool = True, merged: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start one buildah command; its output is a pipe, `merged` or not with its errors."""
        for name in ("storage", "run", "tmp", "home"):
            path = self._root / name
            path.mkdir(exist_ok=True)
            self._account.own(path)
        argv = [
            "unshare",
            "--user",
            "--map-root-user",
            "--map-auto",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--ipc",
            "--uts",
            *(() if network else ("--net",)),
            "--",
            *(() if network else LOOPBACK_UP),
            str(self._program),
            "--root",
            str(self._root / "storage"),
            "--runroot",
            str(self._root / "run"),
            *arguments,
        ]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            cwd=self._root,
            env=self._environ(),
            **self._account.popen_arguments(),
        )

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self._root / "home"),
            "XDG_RUNTIME_DIR": str(self._root / "run"),
            "TMPDIR": str(self._root / "tmp"),
            "STORAGE_DRIVER": "overlay",
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(self._account.uid),
            "_CONTAINERS_ROOTLESS_GID": str(self._account.gid),
        }


class Scratch:
    """A directory below the storage that vanishes with the `with` block."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="work-", dir=self._root))
        return self._path

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
