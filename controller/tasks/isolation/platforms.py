"""Platforms in their normal form (`linux/arm64`, `linux/arm/v7`): this node's, and emulated ones.

Programs of another architecture run where the node has QEMU's user mode emulation. Two ways:

- The node's kernel knows it already (`/proc/sys/fs/binfmt_misc`); namespaces inherit that.
- It is installed but not registered: then the sandbox registers it for itself, in a binfmt_misc of
  its own user namespace (Linux 6.7 and later), from the files that Debian's qemu-user-static and
  systemd know. The node stays as it is.
"""

from __future__ import annotations

import platform
from pathlib import Path

from controller.contract import platform_names

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_ARCHITECTURE = _MACHINES.get(platform.machine(), platform.machine())
NATIVE = f"linux/{_ARCHITECTURE}"
_WITHOUT_EMULATION = {NATIVE} | ({"linux/386"} if _ARCHITECTURE == "amd64" else set())
# From Go's names to QEMU's, where they differ: https://go.dev/doc/install/source#environment
_QEMU = {
    "386": "i386",
    "amd64": "x86_64",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
}
_KERNEL = Path("/proc/sys/fs/binfmt_misc")
_REGISTRATIONS = Path("/usr/lib/binfmt.d")


def parse(name: str) -> str:
    """A platform as FROM --platform names it. Raises FieldError."""
    name = name.strip("/")
    return NATIVE if name in ("", "local") else platform_names.parse(name, NATIVE)


def arguments(target: str) -> dict[str, str]:
    """The ARGs that have a value without being given one, in a build for `target`."""
    found: dict[str, str] = {}
    for side, name in (("BUILD", NATIVE), ("TARGET", target)):
        system, architecture, variant = (*name.split("/"), "", "")[:3]
        found |= {
            f"{side}PLATFORM": name,
            f"{side}OS": system,
            f"{side}ARCH": architecture,
            f"{side}VARIANT": variant,
        }
    return found


def is_foreign(name: str) -> bool:
    """Whether this node runs programs of a platform by emulation only, if at all."""
    return name not in _WITHOUT_EMULATION


def registration(name: str) -> str | None:
    """What a sandbox has to register to run programs of a platform; empty where nothing is needed.

    None where this node cannot run them.
    """
    if not is_foreign(name):
        return ""
    architecture = name.split("/")[1]
    program = f"qemu-{_QEMU.get(architecture, architecture)}"
    if _registered(_KERNEL / program):
        return ""
    try:
        return (_REGISTRATIONS / f"{program}.conf").read_text("ascii").strip()
    except OSError:
        return None


def _registered(entry: Path) -> bool:
    """Whether the kernel has the program open already (flag F): another root has no such file."""
    try:
        lines = entry.read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags
