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


def index_id(token: str | None) -> str:
    """A new id of an index; always the same one for an idempotency token."""
    return _hash("image index", token) if token else secrets.token_hex(16)


def part(document: Mapping[str, Any], index: str, platforms: Sequence[str]) -> dict[str, Any]:
    """What another than the first build is dispatched with."""
    nothing: dict[str, Any] = dict.fromkeys(_OF_THE_FIRST)
    mark = {"id": index, "platforms": list(platforms)}
    return {**document, **nothing, "webhook_headers": {}, FIELD: mark}


def part_token(token: str | None, platforms: Sequence[str]) -> str | None:
    """Nomad's idempotency token of such a build, where the request has one."""
    return _hash("part", token, *platforms) if token else None


def first(
    document: Mapping[str, Any],
    index: str,
    platforms: Sequence[str],
    others: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What the first build is dispatched with; `others` as `platform_jobs` of the answer."""
    listed = [{"job_id": one["job_id"], "platforms": list(one["platforms"])} for one in others]
    return {**document, FIELD: {"id": index, "platforms": list(platforms), "others": listed}}


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
