"""Platforms by the names that people write, in one normal form: `linux/amd64`, `linux/arm/v7`.

The rules are those of `Parse` and `Normalize` in https://github.com/containerd/platforms, by which
`docker build` and Buildah read `--platform`: an architecture alone will do, and some have second
names. The normal form leaves out `v8` of arm64 and `v1` of amd64, and gives 32-bit ARM its variant.
"""

from __future__ import annotations

import re

from controller.contract.field_error import FieldError

_PART = re.compile(r"[a-z0-9_.-]+\Z")
# As Go's syslist.go has them.
_SYSTEMS = re.compile(
    r"(?:aix|android|darwin|dragonfly|freebsd|hurd|illumos|ios|js|linux|nacl|netbsd|openbsd|plan9"
    r"|solaris|windows|zos)\Z"
)
_ARCHITECTURES = re.compile(
    r"(?:386|amd64(?:p32)?|arm(?:be|64|64be)?|ppc(?:64|64le)?|loong64|mips(?:le)?|mips64(?:le)?"
    r"|mips64p32(?:le)?|riscv(?:64)?|s390x?|sparc(?:64)?|wasm)\Z"
)
_SECOND_NAMES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "macos": "darwin"}
# These say a variant too.
_WITH_VARIANT = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_FIX = "write linux/amd64 or linux/arm64"


def parse(name: str, native: str | None = None) -> str:
    """A platform in its normal form. Raises FieldError.

    `native` fills in the architecture where only a system is named; without it none may be missing.
    """
    parts = name.lower().split("/")
    if len(parts) > 3 or not all(map(_PART.match, parts)):
        raise FieldError("is not a platform", _FIX)
    first = _SECOND_NAMES.get(parts[0], parts[0])
    if len(parts) > 1:
        return _joined(first, parts[1], *parts[2:])
    if _SYSTEMS.match(first):
        if native is None:
            raise FieldError("names no architecture", _FIX)
        return _joined(first, native.split("/")[1])
    if not _ARCHITECTURES.match(_normal(first, "")[0]):
        raise FieldError("is neither a known system nor a known architecture", _FIX)
    return _joined("linux", first)


def _joined(system: str, architecture: str, variant: str = "") -> str:
    return "/".join(part for part in (system, *_normal(architecture, variant)) if part)


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    if architecture in _WITH_VARIANT:
        return _WITH_VARIANT[architecture]
    architecture = _SECOND_NAMES.get(architecture, architecture)
    if architecture == "amd64" and variant == "v1":
        variant = ""
    elif architecture == "arm64":
        variant = {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}.get(
            variant, variant
        )
    elif architecture == "arm":
        variant = f"v{variant}" if variant in ("5", "6", "7", "8") else variant or "v7"
    return architecture, variant
