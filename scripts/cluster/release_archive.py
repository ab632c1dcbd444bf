"""The vendor's release archive: downloaded, checked against the pinned sum, unpacked."""

from __future__ import annotations

import hashlib
import http.client
import platform
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import ClusterError
from .pins import RELEASES_URL, Program

CONNECT_SECONDS = 5
"""How long a silent server may keep us; a build machine often has no way out."""

CHUNK = 1 << 20


class UnavailableError(Exception):
    """This way cannot give the program; the message says why, in a few words."""


def architecture() -> str:
    """Return this machine's architecture under Go's name."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def fetch(
    program: Program,
    target: Path,
    environ: Mapping[str, str],
    progress: Callable[[str], None],
    label: str,
) -> None:
    """Put the program at `target`.

    Raises UnavailableError when there is no such archive or it cannot be reached, and ClusterError
    when what came is not what was pinned: that is never passed over in silence.
    """
    expected = program.sums.get(architecture())
    if expected is None:
        raise UnavailableError(
            f"the vendor has no Linux {architecture()} binary we know the sum of"
        )
    base = (environ.get("NBS_RELEASES_URL") or RELEASES_URL).rstrip("/")
    file = f"{program.name}_{program.version}_linux_{architecture()}.zip"
    url = f"{base}/{program.name}/{program.version}/{file}"
    archive = target.with_name(target.name + ".zip")
    try:
        got = _download(url, archive, progress, label)
        if got != expected:
            raise ClusterError(
                f"checksum mismatch: {url} has SHA-256 {got}, expected {expected}; it was not"
                " used. If a mirror serves it (NBS_RELEASES_URL), the mirror is at fault"
            )
        _unpack(archive, program.name, target)
    finally:
        archive.unlink(missing_ok=True)


def _download(url: str, target: Path, progress: Callable[[str], None], label: str) -> str:
    """Download `url` to `target` and return its SHA-256 in hex."""
    digest = hashlib.sha256()
    shown = 0
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            with target.open("wb") as output:
                while chunk := answer.read(CHUNK):
                    output.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    if total and done * 4 // total > shown:
                        shown = done * 4 // total
                        progress(f"{label}: {done >> 20} of {total >> 20} MiB")
            if total and done != total:
                raise UnavailableError(f"{url} broke off after {done} of {total} bytes")
    except urllib.error.HTTPError as error:
        raise UnavailableError(f"{url} answered {error.code}") from error
    except urllib.error.URLError as error:
        raise UnavailableError(f"{url} cannot be reached: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{url} broke off: {error}") from error
    return digest.hexdigest()


def _unpack(archive: Path, name: str, target: Path) -> None:
    with zipfile.ZipFile(archive) as pack, pack.open(name) as source, target.open("wb") as output:
        while chunk := source.read(CHUNK):
            output.write(chunk)
