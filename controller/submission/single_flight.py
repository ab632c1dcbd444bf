"""Equal requests at the same time share one build.

Requests are equal when the same owner wants the same of the same full commit: patch, arguments,
target, tests, tags, webhook, everything but the priority. A branch may have moved meanwhile, so it
is never taken for equal; neither is a request with an idempotency_key, which says itself what it is
equal to.

Nomad decides, so any number of replicas agree: its dispatch with an idempotency token answers with
the child that has the token already. Where that child has ended, the next token is derived from it,
and so on, until a child runs or is made. Nothing is kept but a hint where to begin.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_ASIDE = ("priority", "idempotency_key")


def token_of(document: Mapping[str, Any]) -> str | None:
    """The first token for a request; None where it is equal to no other."""
    if document["idempotency_key"] is not None or not _COMMIT.match(document["git_ref"]):
        return None
    compared = {name: value for name, value in document.items() if name not in _ASIDE}
    text = json.dumps(compared, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"single flight\0{text}".encode()).hexdigest()


def next_token(token: str, job_id: str) -> str:
    """The token after one whose build has ended."""
    return hashlib.sha256(f"{token}\0{job_id}".encode()).hexdigest()
