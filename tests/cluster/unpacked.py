"""An image in a `dir:` directory, as what it comes to: its files after all layers, its config."""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import skopeo

_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."
_KINDS = {
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
}


@dataclass(frozen=True)
class Entry:
    """One path. `content` is a hash, a link's target or a device; `time` is not compared."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str
    attributes: tuple[tuple[str, str], ...]
    time: float = field(compare=False)


@dataclass(frozen=True)
class Unpacked:
    """The file system by path without a leading slash, the config, and small files' content."""

    files: dict[str, Entry]
    config: dict[str, Any]
    texts: dict[str, str]


def download(credentials: skopeo.Credentials, reference: str, directory: Path) -> Unpacked:
    """What a registry has under a reference, by way of a directory that is made."""
    source = f"docker://{reference}"
    skopeo.run(credentials, "copy", "--src-tls-verify=false", source, f"dir:{directory}")
    return unpack(directory)


def unpack(directory: Path) -> Unpacked:
    """Read what `skopeo copy` or `buildah push` wrote to `dir:directory`."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    config = json.loads(_blob(directory, manifest["config"]).read_bytes())
    files: dict[str, Entry] = {}
    texts: dict[str, str] = {}
    for layer in manifest["layers"]:
        with tarfile.open(_blob(directory, layer)) as tar:
            _apply(tar, files, texts)
    return Unpacked(files, config.get("config") or {}, texts)


def _blob(directory: Path, descriptor: dict[str, Any]) -> Path:
    return directory / str(descriptor["digest"]).partition(":")[2]


def _apply(tar: tarfile.TarFile, files: dict[str, Entry], texts: dict[str, str]) -> None:
    members = [(posixpath.normpath(f"/{one.name}").lstrip("/"), one) for one in tar]
    for path, _ in members:
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            _remove(files, folder, itself=False)
        elif name.startswith(_WHITEOUT):
            _remove(files, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
    for path, member in members:
        if posixpath.basename(path).startswith(_WHITEOUT):
            continue
        if not member.isdir() and path in files and files[path].kind == "directory":
            _remove(files, path)
        files[path] = _entry(tar, member, path, files, texts)


def _remove(files: dict[str, Entry], path: str, *, itself: bool = True) -> None:
    for known in [one for one in files if one.startswith(f"{path}/") or (itself and one == path)]:
        del files[known]


def _entry(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    files: dict[str, Entry],
    texts: dict[str, str],
) -> Entry:
    if member.islnk():
        target = posixpath.normpath(f"/{member.linkname}").lstrip("/")
        texts[path] = texts.get(target, "")
        return files[target]
    content = member.linkname
    if member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        data = source.read()
        content = hashlib.sha256(data).hexdigest()
        texts[path] = data[:4096].decode("utf-8", "replace")
    elif member.ischr() or member.isblk():
        content = f"{member.devmajor}:{member.devminor}"
    attributes = (one for one in member.pax_headers.items() if one[0].startswith("SCHILY.xattr."))
    return Entry(
        _KINDS.get(member.type, "file"),
        member.mode,
        member.uid,
        member.gid,
        content,
        tuple(sorted(attributes)),
        member.mtime,
    )
