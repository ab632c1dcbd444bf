"""How a document gets to its task: as the dispatch's payload, compressed and in parts if need be.

Nomad carries at most 16 KB of payload. What does not fit, even compressed, travels beside it as
meta, whose values have no limit in Nomad but become variables of each task's environment, which
Linux bounds to 128 KB each. Base64 has nothing in it that Nomad would expand there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from controller.contract.field_error import FieldError

MAX_PAYLOAD = 16384  # bytes, Nomad's own limit
MAX_DOCUMENT = 1 << 20  # bytes, after decompression
# In capitals: Nomad makes one variable of such a key, of others two.
PART_KEYS = ("PAYLOAD_2", "PAYLOAD_3", "PAYLOAD_4")
_PART = 72 << 10  # bytes; in base64 a third more
MAX_PACKED = MAX_PAYLOAD + len(PART_KEYS) * _PART
_PLAIN_UP_TO = 8192  # bytes; a longer document travels compressed
_GZIP = b"\x1f\x8b"


class PayloadTooLargeError(ValueError):
    """A document that Nomad would not carry, even compressed. `size` is in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the request has {size} bytes after compression; at most {MAX_PACKED} can be carried"
        )
        self.size = size


def pack(document: Mapping[str, Any]) -> bytes:
    """A document as it travels. Raises PayloadTooLargeError."""
    packed = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if len(packed) > MAX_DOCUMENT:
        raise PayloadTooLargeError(len(packed))
    if len(packed) > _PLAIN_UP_TO:
        import gzip  # only here: the runner never compresses, and starts faster without

        packed = gzip.compress(packed, mtime=0)
    if len(packed) > MAX_PACKED:
        raise PayloadTooLargeError(len(packed))
    return packed


def unpack(packed: bytes) -> Any:
    """The JSON value, plain or compressed with gzip. Raises FieldError."""
    if packed.startswith(_GZIP):
        inflate = zlib.decompressobj(wbits=31)
        try:
            packed = inflate.decompress(packed, MAX_DOCUMENT)
        except zlib.error as error:
            raise FieldError(f"is damaged: {error}", "compress it with gzip") from error
        if not inflate.eof:
            raise FieldError(
                f"is cut short, or larger than {MAX_DOCUMENT} bytes",
                "send the whole of a smaller document",
            )
    try:
        return json.loads(packed, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FieldError(f"is not JSON: {error}", "send one JSON object") from error


def split(packed: bytes) -> tuple[bytes, dict[str, str]]:
    """What goes as payload, and what goes as meta."""
    rest = packed[MAX_PAYLOAD:]
    parts = (rest[start : start + _PART] for start in range(0, len(rest), _PART))
    meta = {
        key: base64.b64encode(part).decode() for key, part in zip(PART_KEYS, parts, strict=False)
    }
    return packed[:MAX_PAYLOAD], meta


def joined(payload: bytes, meta: Mapping[str, str]) -> bytes:
    """The whole of what `split` has parted. Raises FieldError where a part is damaged."""
    rest = (base64.b64decode(meta[key], validate=True) for key in PART_KEYS if meta.get(key))
    try:
        return payload + b"".join(rest)
    except ValueError as error:
        raise FieldError(f"has a damaged part: {error}", "send it again") from error


def of_job(job: Mapping[str, Any]) -> bytes:
    """What a job of Nomad's API was dispatched with; empty where that is damaged."""
    # Nomad keeps the payload compressed, but its API decodes it.
    payload = base64.b64decode(job.get("Payload") or "")
    try:
        return joined(payload, job.get("Meta") or {})
    except FieldError:
        return b""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
