"""What a webhook says, and how a receiver knows that it is ours. Pure: no I/O."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from controller.build import Build, Status

EVENTS = {
    Status.SUCCEEDED: "job.completed",
    Status.FAILED: "job.failed",
    Status.CANCELLED: "job.cancelled",
}
_LOG_LINES = 20  # of each phase
_NANOSECONDS = 1_000_000_000


def wanted(config: Mapping[str, Any], status: Status) -> bool:
    """Whether a request asks for a webhook at such an end."""
    if not (config.get("webhook_url") or config.get("webhook_secret")):
        return False
    field = "webhook_on_success" if status is Status.SUCCEEDED else "webhook_on_failure"
    return bool(config.get(field))


def body(build: Build, tails: Mapping[str, list[str]], timestamp: str) -> bytes:
    """The JSON body: the original's keys, and ours beside them. `timestamp` is RFC 3339."""
    config = build.config or {}
    shown = build.shown()
    duration = build.duration_seconds
    said: dict[str, Any] = {
        "event": EVENTS[build.status],
        "job_id": build.job_id,
        "status": str(build.status),
        "timestamp": timestamp,
        "duration": None if duration is None else round(duration * _NANOSECONDS),
        **{name: config.get(name) for name in ("owner", "repo_url", "git_ref", "image_name")},
        "image_tags": config.get("image_tags") or [],
        "commit": build.commit,
        "image": build.image,
        "digest": build.digest,
        "references": list(build.references),
        "metrics": shown["metrics"],
        "logs": {phase: lines[-_LOG_LINES:] for phase, lines in tails.items()},
    }
    if build.failure is not None:
        said |= {
            "error": build.error,
            "phase": build.failure["phase"],
            "failure": {name: value for name, value in build.failure.items() if name != "log_tail"},
        }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def headers(job_id: str, moment: int, content: bytes, secret: str) -> dict[str, str]:
    """The headers of one try. `moment` is in seconds since 1970.

    `X-Webhook-Signature` is the original's: over the body alone. Who keeps to
    `X-Webhook-Signature-V2` is safe from old messages that somebody sends again.
    """
    found = {
        "Content-Type": "application/json",
        "User-Agent": "nomad-build-service",
        "X-Webhook-Id": job_id,
        "X-Webhook-Timestamp": str(moment),
    }
    if secret:
        signed = b".".join((job_id.encode(), str(moment).encode(), content))
        found |= {
            "X-Webhook-Signature": f"sha256={_sign(secret, content)}",
            "X-Webhook-Signature-V2": f"sha256={_sign(secret, signed)}",
        }
    return found


def _sign(secret: str, content: bytes) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
