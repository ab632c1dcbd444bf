"""What rootless builds need of the kernel: user namespaces and /dev/net/tun. stdlib only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .errors import ClusterError

TRY_SECONDS = 10

TUN = Path("/dev/net/tun")
TMPFILES = Path("/etc/tmpfiles.d/nomad-build-service.conf")
SYSCTLS = Path("/etc/sysctl.d/60-nomad-build-service.conf")

TMPFILES_TEXT = """\
# Build steps reach the internet through slirp4netns, which opens this device as the build user.
c /dev/net/tun 0666 root root - 10:200
z /dev/net/tun 0666 root root -
"""

WANTED = {
    # Debian's own switch; absent on newer kernels, where user namespaces are always there.
    "kernel/unprivileged_userns_clone": "1",
    # Ubuntu's restriction of user namespaces by AppArmor.
    "kernel/apparmor_restrict_unprivileged_userns": "0",
}


def tun_is_open() -> bool:
    """Say whether every user may open /dev/net/tun."""
    try:
        mode = TUN.stat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(mode) and mode & 0o666 == 0o666


def open_tun() -> None:
    """Let every user open /dev/net/tun, now and after a reboot."""
    if not TUN.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "tun"], capture_output=True, check=False)
    if not TUN.exists():
        TUN.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.mknod(TUN, stat.S_IFCHR | 0o666, os.makedev(10, 200))
        except PermissionError:
            raise ClusterError(
                "there is no /dev/net/tun and it cannot be made here; in a container, give it"
                " the device (--device /dev/net/tun)"
            ) from None
    TUN.chmod(0o666)
    _write(TMPFILES, TMPFILES_TEXT)


def wrong_sysctls() -> dict[str, str]:
    """Return the settings that forbid user namespaces, with the value each must have."""
    wrong = {}
    for name, value in WANTED.items():
        file = Path("/proc/sys") / name
        if file.exists() and file.read_text().strip() != value:
            wrong[name] = value
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and int(limit.read_text()) < 100:
        wrong["user/max_user_namespaces"] = "15000"
    return wrong


def set_sysctls(values: dict[str, str]) -> None:
    """Set kernel settings now and for the next boot."""
    for name, value in values.items():
        (Path("/proc/sys") / name).write_text(value)
    lines = [f"{name.replace('/', '.')} = {value}\n" for name, value in values.items()]
    _write(SYSCTLS, "# Rootless builds need user namespaces.\n" + "".join(lines))


def namespaces_problem(account: str) -> str | None:
    """Try the namespaces that a build step runs in, as `account`; return what went wrong."""
    argv = [
        "unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork",
        "--mount-proc", "--ipc", "--uts", "--net", "--", "true",
    ]  # fmt: skip
    entry = pwd.getpwnam(account)
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # Where the kernel refuses, unshare leaves a helper behind that waits for ever and keeps the
    # output open: so the output is a file, and the whole process group is ended.
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            start_new_session=True, **options,
        )  # fmt: skip
        try:
            code = child.wait(timeout=TRY_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        output.seek(0)
        words = output.read().decode(errors="replace").strip()
    return None if code == 0 else words or f"unshare ended with {code}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
