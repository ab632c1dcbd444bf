"""Files of an allocation, read through Nomad: whole, from a byte on, and followed.

`/v1/client/fs/stream` sends JSON frames one after the other, without newlines. The offsets in them
mark the end of what was merged into the frame, so they cannot be used to resume: bytes are counted.
Reading goes through it too: `fs/cat` and `fs/readat` answer 200 with the error's text as content
where there is no such file or allocation (Nomad 1.11.3).
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from controller.clients.nomad import NomadClient
from controller.contract.results import phase_log_path
from controller.errors import NotFoundError, ServiceError

_SILENCE = 10.0  # seconds; Nomad sends a heartbeat each second
_ABSENT = ("no such file", "not found", "unknown allocation", "not exist")


def log_path(phase: str) -> str:
    """Where Nomad shows a phase's log file."""
    return f"alloc/{phase_log_path(phase)}"


class NomadFiles:
    """Reads below an allocation's directory; paths are as Nomad shows them (`alloc/data/…`)."""

    def __init__(self, nomad: NomadClient) -> None:
        self._nomad = nomad

    async def size(self, alloc_id: str, path: str) -> int | None:
        """The size in bytes, or None where there is no such file (any more)."""
        try:
            found = await self._nomad.get(f"/client/fs/stat/{alloc_id}", path=path)
        except ServiceError as error:
            _raise_unless_absent(error)
            return None
        return None if found["IsDir"] else int(found["Size"])

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
        data = bytearray()
        try:
            async with aclosing(self._stream(alloc_id, path, offset, follow=False)) as pieces:
                async for piece in pieces:
                    data += piece
                    if len(data) >= limit:
                        break
        except ServiceError as error:
            _raise_unless_absent(error)
            return None
        return bytes(data[:limit])

    async def follow(self, alloc_id: str, path: str, *, offset: int) -> AsyncGenerator[bytes, None]:
        """What the file holds from `offset` on and what is added, without end; b"" as heartbeat.

        Raises NotFoundError while there is no such file, UnavailableError when the stream breaks.
        """
        try:
            async with aclosing(self._stream(alloc_id, path, offset, follow=True)) as pieces:
                async for piece in pieces:
                    yield piece
        except ServiceError as error:
            _raise_unless_absent(error)
            raise NotFoundError(error.message) from error

    async def _stream(
        self, alloc_id: str, path: str, offset: int, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        async with self._nomad.stream(
            f"/client/fs/stream/{alloc_id}",
            read_timeout=_SILENCE,
            path=path,
            offset=offset,
            origin="start",
            follow="true" if follow else "false",
        ) as chunks:
            async for frame in _frames(chunks):
                yield base64.b64decode(frame["Data"]) if frame.get("Data") else b""


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
