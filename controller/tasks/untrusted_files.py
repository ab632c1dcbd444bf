"""Files in a directory that earlier tasks could write to: read and written without being led away.

No symlink is followed on the way or at the end, only regular files are read, sizes are capped, and
writing replaces a name atomically. Paths are opened relative to directory handles, so that nothing
can be swapped between a check and a use.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.contract.results import MAX_RESULT_BYTES

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def directory(root: Path, *names: str, create: bool = False) -> Iterator[int]:
    """A handle on `root/names…`, no component of `names` being a symlink. Raises OSError."""
    handle = os.open(root, _DIRECTORY_FLAGS)
    try:
        for name in names:
            if create:
                # What exists already is checked by the open below.
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=handle)
            below = os.open(name, _DIRECTORY_FLAGS, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def read_bytes(handle: int, name: str, limit: int = MAX_RESULT_BYTES) -> bytes:
    """The content of a regular file below a directory handle.

    Raises FileNotFoundError where it is missing, ValueError where it is a symlink, no regular
    file, or larger than `limit` bytes.
    """
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle
        )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{name} is not a plain file ({error.strerror})") from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{name} is not a plain file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    return content


def write_json(handle: int, name: str, document: dict[str, Any]) -> None:
    """Write a document under a directory handle: whole or not at all, whatever stood there."""
    partial = f".{name}.{secrets.token_hex(8)}"
    fd = os.open(
        partial,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o644,
        dir_fd=handle,
    )
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    remove(handle, name)
    os.rename(partial, name, src_dir_fd=handle, dst_dir_fd=handle)


def remove(handle: int, name: str) -> list[str]:
    """Remove a file or a directory with all below it, following no link; problems in words."""
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=handle).st_mode):
            shutil.rmtree(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{name} could not be removed: {error.strerror}"]
    return []


def may_be_directory(handle: int, name: str) -> bool:
    """Whether a name is free or a directory of its own, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=handle).st_mode)
    except FileNotFoundError:
        return True


def only_plain(handle: int, *known: str) -> list[str]:
    """What lies under a directory handle and is neither a plain file of one name nor in `known`.

    Whoever reads these files later (Nomad does, as root, and follows links) must not be led away.
    """
    found = []
    for name in os.listdir(handle):
        try:
            status = os.lstat(name, dir_fd=handle)
        except FileNotFoundError:
            continue  # another phase, running beside this one, has renamed it
        plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not plain and not (name in known and stat.S_ISDIR(status.st_mode)):
            found.append(name)
    return sorted(found)


def create(handle: int, name: str) -> int:
    """A new file open for writing. Raises FileExistsError where the name is taken by anything."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
    return os.open(name, flags, 0o644, dir_fd=handle)
