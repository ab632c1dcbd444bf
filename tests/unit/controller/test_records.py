"""Cursors, history records, and what the metrics count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import cursor
from controller.build import Build, PhaseView, Status
from controller.contract.results import PHASES
from controller.cursor import Cursor
from controller.errors import MalformedRequestError
from controller.history import encode
from controller.metrics import Metrics


@given(st.uuids(), st.sampled_from(PHASES), st.integers(0, 10**14))
def test_a_cursor_reads_back(alloc_id: object, phase: str, offset: int) -> None:
    one = Cursor(str(alloc_id), phase, offset)
    assert cursor.parse(str(one)) == one


@given(st.text(max_size=40))
def test_anything_else_is_refused(text: str) -> None:
    try:
        found = cursor.parse(text)
    except MalformedRequestError:
        return
    assert found.phase in PHASES


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_a_record_fits_into_consul(size: int) -> None:
    build = Build("a.b.c", "b/dispatch-c", Status.FAILED, config={"x": "y" * 1000})
    tails = {"build": ["x" * 100] * (size // 100), "test": ["last \N{SNOWMAN}"]}
    raw = encode(build, tails)
    assert len(raw) <= 512 * 1024
    assert "last \N{SNOWMAN}".encode() in raw


def test_the_metrics_have_the_originals_names() -> None:
    metrics = Metrics()
    views = {
        "build": PhaseView("succeeded", duration_seconds=2.0),
        "test": PhaseView("failed", duration_seconds=3.0),
        "publish": PhaseView("skipped"),
    }
    for status in (Status.FAILED, Status.SUCCEEDED, Status.CANCELLED):
        metrics.ended(Build("a.b.c", "b/dispatch-c", status, config={"owner": "me"}, phases=views))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("build_duration_seconds_sum", status="succeeded", owner="me") == 6.0
    assert value("test_duration_seconds_count", status="failed", owner="me") == 3
    assert value("publish_duration_seconds_count", status="skipped", owner="me") is None
    assert value("total_jobs", status="FAILED", phase="", owner="me") == 1
    assert value("builds_ended_total", status="CANCELLED", phase="", owner="me") == 1
    assert value("job_success_rate", window="24h") == 0.5
    assert value("concurrent_jobs_total") == 0
