"""What the metrics count, under the original's names, and that callers cannot make them grow."""

from __future__ import annotations

import math

from controller.observability.metrics import Metrics
from controller.status.build import Build, PhaseView, Status

VIEWS = {
    "build": PhaseView("succeeded", "2026-11-23T05:00:04.000Z", duration_seconds=2.0),
    "test": PhaseView("failed", duration_seconds=3.0),
    "publish": PhaseView("skipped"),
}


def ended(metrics: Metrics, status: Status, owner: str = "me") -> None:
    metrics.ended(
        Build(
            "a.b.c",
            "b/dispatch-c",
            status,
            submitted_at="2026-11-23T05:00:00.000Z",
            config={"owner": owner},
            phases=VIEWS,
        )
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_ends_are_counted_under_the_originals_names() -> None:
    metrics = Metrics()
    for status in (Status.FAILED, Status.SUCCEEDED, Status.CANCELLED):
        ended(metrics, status)
    assert value(metrics, "build_duration_seconds_sum", status="succeeded", owner="me") == 6.0
    assert value(metrics, "test_duration_seconds_count", status="failed", owner="me") == 3
    skipped = value(metrics, "publish_duration_seconds_count", status="skipped", owner="me")
    assert skipped is None
    assert value(metrics, "total_jobs", status="FAILED", phase="", owner="me") == 1
    assert value(metrics, "builds_ended_total", status="CANCELLED", phase="", owner="me") == 1
    assert value(metrics, "build_queue_seconds_sum") == 12.0


def test_a_build_that_never_began_waited_for_nothing() -> None:
    metrics = Metrics()
    metrics.ended(
        Build("a.b.c", "b/dispatch-c", Status.CANCELLED, submitted_at="2026-11-23T05:00Z")
    )
    assert value(metrics, "build_queue_seconds_count") == 0
    assert value(metrics, "total_jobs", status="CANCELLED", phase="", owner="") == 1


def test_owners_are_bounded() -> None:
    metrics = Metrics(owners=2)
    for number in range(50):
        ended(metrics, Status.SUCCEEDED, f"owner-{number}")
    ended(metrics, Status.SUCCEEDED, "owner-0")
    labels = {"status": "SUCCEEDED", "phase": ""}
    assert value(metrics, "builds_ended_total", owner="owner-0", **labels) == 2
    assert value(metrics, "builds_ended_total", owner="_other", **labels) == 48
    assert value(metrics, "builds_ended_total", owner="owner-2", **labels) is None


def test_usage_is_in_both_units() -> None:
    metrics = Metrics()
    metrics.usage(megahertz=3000, cores=1.5, memory=2 << 20)
    metrics.disk()
    metrics.builds(running=3, pending=1)
    metrics.success({"24h": 0.5})
    assert value(metrics, "resource_usage", resource_type="cpu") == 3000
    assert value(metrics, "builds_cpu_cores") == 1.5
    assert value(metrics, "resource_usage", resource_type="memory") == 2
    assert value(metrics, "builds_memory_bytes") == 2 << 20
    assert math.isnan(value(metrics, "resource_usage", resource_type="disk") or 0)
    assert value(metrics, "concurrent_jobs_total") == value(metrics, "builds_running") == 3
    assert value(metrics, "builds_pending") == 1
    assert value(metrics, "job_success_rate", window="24h") == 0.5
