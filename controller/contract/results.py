"""The files a build leaves: a result for each phase, and the outcome of the whole.

Where: `PHASE_RESULT` and `PHASE_LOG` below Nomad's shared allocation directory, `OUTCOME` in the
`finish` task's own `local/`, where no earlier task can plant one. Whoever reads them must treat
them as untrusted: `parse_phase_result` and `parse_outcome` check sizes, shapes and owners and raise
ValueError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.contract.reasons import REASONS

SCHEMA = 1
PHASES = ("build", "test", "publish")
DIRECTORY = "data/nbs"  # below the shared allocation directory (NOMAD_ALLOC_DIR)
OUTCOME_FILE = "outcome.json"  # below the finish task's NOMAD_TASK_DIR
MAX_RESULT_BYTES = 1 << 20

PHASE_STATUSES = ("succeeded", "failed", "skipped", "killed")
OUTCOME_STATUSES = ("SUCCEEDED", "FAILED", "KILLED")

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# What fields are, where they are there. A list holds the type of the items.
_RESULT: dict[str, Any] = {
    "started_at": datetime,
    "finished_at": datetime,
    "duration_seconds": int | float,
    "log_lines_dropped": int,
    "source": str,
    "patch": dict,
    "images": dict,
    "image": str,
    "steps": [dict],
    "commands": [dict],
    "references": [str],
    "tags": [dict],
    "referrers": [dict],
    "base_images": [dict],
    "cache": dict,
    "intermediate": dict,
    "problem": dict,
}
_FAILURE: dict[str, Any] = {
    "phase": str,
    "step": str,
    "dockerfile_line": int,
    "command": str,
    "exit_code": int,
    "signal": str,
    "dockerfile_text": str,
    "excerpt": [str],
    "log_tail": [str],
    "hint": str,
    "retryable": bool,
    "fix_owner": str,
}
COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


def phase_result_path(phase: str) -> str:
    """Where a phase's result lies, below the shared allocation directory."""
    return f"{DIRECTORY}/{phase}.json"


def phase_log_path(phase: str) -> str:
    """Where a phase's log lies, below the shared allocation directory."""
    return f"{DIRECTORY}/logs/{phase}.log"


def failure(
    phase: str,
    reason: str,
    message: str,
    *,
    step: str | None = None,
    dockerfile_line: int | None = None,
    command: str | None = None,
    exit_code: int | None = None,
    signal: str | None = None,
    dockerfile_text: str | None = None,
    excerpt: list[str] | None = None,
    log_tail: list[str] | None = None,
    hint: str | None = None,
) -> dict[str, Any]:
    """A failure as callers see it. `reason` must be one of `reasons.REASONS` (KeyError if not)."""
    known = REASONS[reason]
    return {
        "phase": phase,
        "reason": reason,
        "message": message,
        "step": step,
        "dockerfile_line": dockerfile_line,
        "command": command,
        "exit_code": exit_code,
        "signal": signal,
        "dockerfile_text": dockerfile_text,
        "excerpt": excerpt or [],
        "log_tail": log_tail or [],
        "hint": hint or known.hint,
        "retryable": known.retryable,
        "fix_owner": known.fix_owner,
    }


def parse_phase_result(raw: bytes, *, phase: str, alloc_id: str) -> dict[str, Any]:
    """Read a phase's result. Raises ValueError where it is not one of this phase and allocation."""
    result = _document(raw, alloc_id)
    if result.get("phase") != phase:
        raise ValueError(f"the result is of phase {result.get('phase')!r}, not {phase}")
    if result.get("status") not in PHASE_STATUSES:
        raise ValueError(f"unknown status {result.get('status')!r}")
    _check_failure(result.get("failure"), needed=result["status"] == "failed")
    _check(result, "commit", COMMIT)
    _check(result, "image_id", DIGEST)
    _check_images(result.get("images"))
    _check(result, "digest", DIGEST)
    _check_shape(result, _RESULT)
    return result


def parse_outcome(raw: bytes, *, alloc_id: str) -> dict[str, Any]:
    """Read an outcome. Raises ValueError where it is not one of this allocation."""
    outcome = _document(raw, alloc_id)
    if outcome.get("status") not in OUTCOME_STATUSES:
        raise ValueError(f"unknown status {outcome.get('status')!r}")
    _check_failure(outcome.get("failure"), needed=outcome["status"] != "SUCCEEDED")
    _check(outcome, "commit", COMMIT)
    _check(outcome, "digest", DIGEST)
    _check(outcome.get("intermediate") or {}, "digest", DIGEST)
    phases = outcome.get("phases")
    if not isinstance(phases, dict):
        raise ValueError("phases is missing")
    for phase in phases.values():
        _check_shape(phase, _RESULT)
        if phase.get("status") not in PHASE_STATUSES:
            raise ValueError(f"unknown status {phase.get('status')!r}")
    _check_shape(outcome, _RESULT)
    return outcome


def _document(raw: bytes, alloc_id: str) -> dict[str, Any]:
    if len(raw) > MAX_RESULT_BYTES:
        raise ValueError(f"larger than {MAX_RESULT_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    if document.get("schema") != SCHEMA:
        raise ValueError(f"schema {document.get('schema')!r} is not {SCHEMA}")
    if document.get("alloc_id") != alloc_id:
        raise ValueError("it belongs to another allocation")
    return document


def _check(document: Mapping[str, Any], field: str, pattern: re.Pattern[str]) -> None:
    value = document.get(field)
    if value is not None and not (isinstance(value, str) and pattern.match(value)):
        raise ValueError(f"{field} is malformed")


def _check_images(images: object) -> None:
    if images is not None and not (
        isinstance(images, dict)
        and all(isinstance(one, str) and DIGEST.match(one) for one in images.values())
    ):
        raise ValueError("images is malformed")


def _check_failure(value: object, *, needed: bool) -> None:
    if value is None and not needed:
        return
    if not isinstance(value, dict) or value.get("reason") not in REASONS:
        raise ValueError("failure has no known reason")
    if not isinstance(value.get("message"), str) or not value["message"]:
        raise ValueError("failure has no message")
    _check_shape(value, _FAILURE)


def _check_shape(document: object, shape: Mapping[str, Any]) -> None:
    """Fields that are absent or null are well; the others are what readers take them for."""
    if not isinstance(document, dict):
        raise ValueError("a part of it is not a JSON object")
    for name, wanted in shape.items():
        value = document.get(name)
        if value is None:
            continue
        if wanted is datetime:
            well = isinstance(value, str) and _is_time(value)
        elif isinstance(wanted, list):
            well = isinstance(value, list) and all(isinstance(one, wanted[0]) for one in value)
        else:
            well = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
        if not well:
            raise ValueError(f"{name} is malformed")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
