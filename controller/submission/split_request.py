"""One request for several architectures as several builds, one for each. Pure.

Each has the whole request, and in `image_index` which of its platforms it makes. The first one
answers for all: its job_id is what the caller gets, so it alone has the webhook and the others'
ids.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from controller.contract.image_index import FIELD

_OF_THE_FIRST = ("webhook_url", "webhook_secret", "idempotency_key")


def new_id() -> str:
    """The id of a new index. Never one that follows from the request: it is a secret."""
    return secrets.token_hex(16)


def token(index: str, platforms: Sequence[str]) -> str:
    """Nomad's idempotency token of one of the builds, by which it is found again."""
    return hashlib.sha256("\0".join(("part", index, *platforms)).encode()).hexdigest()


def part(document: Mapping[str, Any], index: str, platforms: Sequence[str]) -> dict[str, Any]:
    """What another than the first build is dispatched with."""
    nothing: dict[str, Any] = dict.fromkeys(_OF_THE_FIRST)
    mark = {"id": index, "platforms": list(platforms), "part": True}
    return {**document, **nothing, "webhook_headers": {}, FIELD: mark}


def first(
    document: Mapping[str, Any],
    index: str,
    platforms: Sequence[str],
    others: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What the first build is dispatched with; `others` are job_id and platforms of each."""
    mark = {"id": index, "platforms": list(platforms), "others": list(others)}
    return {**document, FIELD: mark}
