"""What a webhook says and how it is signed. Pure: a repeat has the same body to the byte.

Two signatures, both HMAC-SHA256 in hexadecimal after `sha256=`: `X-Webhook-Signature` of the body
alone, as the original made it, and `X-Webhook-Signature-V2` of `ID.TIMESTAMP.BODY`, which also
proves when it was sent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from controller import __version__
from controller.contract.results import PHASES
from controller.history.records import Record
from controller.logs.excerpt import Line, newest
from controller.webhooks.marks import EVENTS

_NANOSECONDS = 1_000_000_000
_LOG_CHARACTERS, _LOG_LINES = 8000, 50
_FAILURE_LINES = 20


def document(record: Record) -> dict[str, Any]:
    """The body: the original's fields, widened."""
    build = record.build
    config, shown = build.config or {}, build.shown()
    failure = dict(build.failure) if build.failure else None
    if failure:
        failure["log_tail"] = list(failure.get("log_tail") or [])[-_FAILURE_LINES:]
    seconds = build.duration_seconds
    body: dict[str, Any] = {
        "event": EVENTS[build.status],
        "job_id": build.job_id,
        "status": str(build.status),
        "timestamp": build.finished_at,
        "duration": None if seconds is None else round(seconds * _NANOSECONDS),
        **{name: config.get(name) for name in _CONFIG},
        "commit": build.commit,
        "image": build.image,
        "digest": build.digest,
        "references": list(build.references),
        "failure": failure,
        "logs": _logs(record),
        "metrics": shown["metrics"],
    }
    if build.error:
        body["error"] = build.error
    if failure:
        body["phase"] = failure["phase"]
    return body


_CONFIG = ("owner", "repo_url", "git_ref", "image_name", "image_tags")


def encode(body: dict[str, Any]) -> bytes:
    """The body as it is sent and signed."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def headers(
    job_id: str, event: str, body: bytes, *, now: int, key: str | None, further: dict[str, str]
) -> dict[str, str]:
    """The headers of one try at `now`, in seconds since 1970."""
    message_id = hashlib.sha256(f"{job_id}\n{event}".encode()).hexdigest()[:32]
    ours = {
        "Content-Type": "application/json",
        "User-Agent": f"nomad-build-service/{__version__}",
        "Accept-Encoding": "identity",
        "X-Webhook-Id": message_id,
        "X-Webhook-Timestamp": str(now),
    }
    if key is not None:
        ours["X-Webhook-Signature"] = _signature(key, body)
        dated = f"{message_id}.{now}.".encode() + body
        ours["X-Webhook-Signature-V2"] = _signature(key, dated)
    return {**further, **ours}


def _signature(key: str, message: bytes) -> str:
    return f"sha256={hmac.new(key.encode(), message, hashlib.sha256).hexdigest()}"


def _logs(record: Record) -> dict[str, list[str]]:
    """The last lines: the later the phase, the more of it."""
    phases = {
        phase: [
            Line(number, number, text.encode())
            for number, text in enumerate(record.tails.get(phase, []), 1)
        ]
        for phase in PHASES
    }
    chosen = newest(phases, _LOG_CHARACTERS, _LOG_LINES)
    return {phase: chosen[phase].lines for phase in PHASES if phase in chosen}
