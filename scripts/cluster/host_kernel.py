"""What rootless builds need of the kernel: user namespaces and /dev/net/tun. stdlib only."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from .errors import ClusterError

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
    if not TUN.exists():
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
        "unshare",
        "--user",
        "--map-root-user",
        "--map-auto",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--ipc",
        "--uts",
        "--net",
        "--",
        "true",
    ]
    options = {"user": account, "group": _group(account), "extra_groups": []}
    if os.geteuid() != 0:
        options = {}
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **options,  # type: ignore[call-overload]
    )
    return None if done.returncode == 0 else str(done.stderr.strip() or done.returncode)


def _group(account: str) -> int:
    import pwd

    return pwd.getpwnam(account).pw_gid


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
