"""Files of an allocation, read through Nomad: from a byte on, and followed.

`/v1/client/fs/stream` sends JSON frames one after the other, without newlines. The offsets in them
mark the end of what was merged into the frame, so they cannot be used to resume: bytes are counted.
It serves for following only: each answer that is left before its end keeps one of the 100
connections that Nomad grants an address, until Nomad restarts (1.11.3, tried). `fs/readat` ends by
itself, but answers 200 with the error's text as content where there is no such file or allocation:
so it is asked for bytes that are known to be there.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from controller.clients.nomad import NomadClient
from controller.contract.results import phase_log_path
from controller.errors import NotFoundError, ServiceError, UnavailableError

_SILENCE = 10.0  # seconds; Nomad sends a heartbeat each second
# A build can plant a link that leads out of its allocation: then, too, there is no such file.
_ABSENT = (
    "no such file",
    "not found",
    "unknown allocation",
    "not exist",
    "escapes the alloc directory",
    "not a directory",
    "too many levels of symbolic links",
)


def log_path(phase: str) -> str:
    """Where Nomad shows a phase's log file."""
    return f"alloc/{phase_log_path(phase)}"


class NomadFiles:
    """Reads below an allocation's directory; paths are as Nomad shows them (`alloc/data/…`)."""

    def __init__(self, nomad: NomadClient) -> None:
        self._nomad = nomad

    async def size(self, alloc_id: str, path: str) -> int | None:
        """The size in bytes, or None where there is no such file (any more).

        Of links there are none: Nomad's own readers follow them as root, into the secrets of the
        allocation's tasks too (1.11.3, tried), and its `stat` does not tell. A listing does.
        """
        folder, _, name = path.rpartition("/")
        try:
            listed = await self._nomad.get(f"/client/fs/ls/{alloc_id}", path=folder)
        except ServiceError as error:
            _raise_unless_absent(error)
            return None
        found = next((one for one in listed or () if one["Name"] == name), None)
        if found is None or not found["FileMode"].startswith("-"):
            return None
        return int(found["Size"])

    async def exist(self, alloc_id: str) -> bool:
        """Whether the allocation's directory is still on its node."""
        try:
            await self._nomad.get(f"/client/fs/stat/{alloc_id}", path="/")
        except ServiceError as error:
            _raise_unless_absent(error)
            return False
        return True

    async def read(self, alloc_id: str, path: str, *, offset: int = 0, limit: int) -> bytes | None:
        """Up to `limit` bytes from `offset` on, or None where there is no such file (any more)."""
        if (size := await self.size(alloc_id, path)) is None:
            return None
        length = min(limit, size - offset)
        return await self.read_known(alloc_id, path, offset=offset, length=length)

    async def read_known(
        self, alloc_id: str, path: str, *, offset: int, length: int
    ) -> bytes | None:
        """Exactly `length` bytes of a file that has them, or None where it is gone since."""
        if length <= 0:
            return b""
        answer = await self._nomad.request(
            "GET",
            f"/client/fs/readat/{alloc_id}",
            path=path,
            offset=str(offset),
            limit=str(length),
        )
        if len(answer.content) == length:
            return answer.content
        if await self.size(alloc_id, path) is None:
            return None  # the answer is the words of an error, with status 200
        raise UnavailableError(
            "nomad", f"{len(answer.content)} bytes of {path} instead of {length}"
        )

    async def follow(self, alloc_id: str, path: str, *, offset: int) -> AsyncGenerator[bytes, None]:
        """What the file holds from `offset` on and what is added, without end; b"" as heartbeat.

        Raises NotFoundError while there is no such file, UnavailableError when the stream breaks.
        """
        if await self.size(alloc_id, path) is None:
            raise NotFoundError(f"nomad: there is no file {path}")
        try:
            async with self._nomad.stream(
                f"/client/fs/stream/{alloc_id}",
                read_timeout=_SILENCE,
                path=path,
                offset=offset,
                origin="start",
                follow="true",
            ) as chunks:
                async for frame in _frames(chunks):
                    yield base64.b64decode(frame["Data"]) if frame.get("Data") else b""
        except ServiceError as error:
            _raise_unless_absent(error)
            raise NotFoundError(error.message) from error


async def _frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    decoder, text = json.JSONDecoder(), ""
    characters = codecs.getincrementaldecoder("utf-8")()
    async for chunk in chunks:
        text += characters.decode(chunk)
        while text := text.lstrip():
            try:
                frame, end = decoder.raw_decode(text)
            except ValueError:
                break  # the rest of the frame is still on its way
            text = text[end:]
            yield frame


def _raise_unless_absent(error: ServiceError) -> None:
    if isinstance(error, NotFoundError) or any(sign in error.message for sign in _ABSENT):
        return
    raise error
