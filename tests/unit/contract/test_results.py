"""Result files that untrusted code may have written: each field is what readers take it for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.contract.results import (
    MAX_RESULT_BYTES,
    SCHEMA,
    failure,
    parse_outcome,
    parse_phase_result,
)
from controller.tasks.phase_results import of_bounded_size

GOOD: dict[str, Any] = {
    "schema": SCHEMA,
    "alloc_id": "a",
    "phase": "build",
    "status": "failed",
    "started_at": "2026-11-23T02:00:00Z",
    "finished_at": "2026-11-23T02:00:03.5Z",
    "duration_seconds": 3.5,
    "failure": failure("build", "RunFailed", "exit 1", exit_code=1, log_tail=["x"]),
    "steps": [{"text": "RUN true"}],
    "cache": {"hits": 1, "misses": 2},
}


def parse(**fields: Any) -> dict[str, Any]:
    return parse_phase_result(json.dumps(GOOD | fields).encode(), phase="build", alloc_id="a")


def test_results_round_trip() -> None:
    assert parse() == GOOD
    assert parse(steps=None, started_at=None)["steps"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 5),
        ("steps", ["text"]),
        ("commands", {"a": 1}),
        ("references", [1]),
        ("cache", []),
        ("started_at", "never"),
        ("started_at", "2026-11-23T02:00:00"),
        ("duration_seconds", "3"),
        ("log_lines_dropped", True),
        ("image_id", "--help"),
        ("failure", GOOD["failure"] | {"log_tail": 5}),
        ("failure", GOOD["failure"] | {"reason": "Nonsense"}),
        ("failure", GOOD["failure"] | {"exit_code": "1"}),
    ],
)
def test_results_of_other_shape_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"malformed|reason"):
        parse(**{field: value})
    document = GOOD | {"status": "FAILED", "phases": {"build": {field: value, "status": "failed"}}}
    if field not in ("image_id", "failure"):
        with pytest.raises(ValueError, match="malformed"):
            parse_outcome(json.dumps(document).encode(), alloc_id="a")


def test_results_of_any_build_can_be_read_back() -> None:
    """Forty quoted lines and five hundred steps of what takes most bytes."""
    wide = "\N{SMILING FACE WITH OPEN MOUTH}" * 2000
    result = of_bounded_size(
        GOOD
        | {
            "steps": [{"text": wide[:1000], "line": n} for n in range(500)],
            "failure": failure("build", "RunFailed", "exit 1", log_tail=[wide] * 40),
        }
    )
    raw = json.dumps(result, ensure_ascii=False).encode()
    assert len(raw) < MAX_RESULT_BYTES // 4
    assert parse_phase_result(raw, phase="build", alloc_id="a")["steps"][-1]["line"] == 499
    assert result["failure"]["log_tail"]
