"""What a rerun adds to a request: the image of an earlier build, to test or to publish again.

Only the controller writes it, from what it knows of that build; `normalise` refuses the field, so
no caller of submitJob can name an image of somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.contract import image_names, job_id
from controller.contract.field_error import FieldError
from controller.contract.json_schema import Problem
from controller.contract.results import COMMIT, DIGEST

FIELD = "rerun"
PHASES = ("test", "publish")


def take(document: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Take the field out of a payload; it, and what is wrong with it."""
    given = document.pop(FIELD, None)
    if given is None:
        return None, []
    problems = _problems(given)
    return (None if problems else dict(given)), problems


def _problems(given: object) -> list[Problem]:
    fix = "use the operation rerunPhase instead of writing this field"
    if not isinstance(given, Mapping):
        return [Problem(FIELD, "is not a JSON object", fix)]
    checks = {
        "job_id": _is_job_id(given.get("job_id")),
        "phase": given.get("phase") in PHASES,
        "image": _is_repository(given.get("image")),
        "tag": given.get("tag") is None or _is_tag(given["tag"]),
        "digest": bool(DIGEST.match(str(given.get("digest")))),
        "commit": bool(COMMIT.match(str(given.get("commit")))),
    }
    return [
        Problem(f"{FIELD}.{name}", "is missing or malformed", fix)
        for name, well in checks.items()
        if not well
    ]


def _is_job_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(job_id.parse(value))
    except ValueError:
        return False


def _is_repository(value: object) -> bool:
    try:
        return bool(image_names.repository(value))
    except FieldError:
        return False


def _is_tag(value: object) -> bool:
    try:
        return bool(image_names.tag(value))
    except FieldError:
        return False
