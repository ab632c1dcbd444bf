"""Every metric of the controller, with the original's names, in a registry that is passed in.

A replica counts the builds whose end it was the first to record, so sums over replicas are right
and a restart counts nothing twice. `owner` is a label because the original's queries use it.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from controller.build import Build, Status

_BUCKETS = {
    "build": (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600),
    "test": (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800),
    "publish": (1, 5, 15, 30, 60, 120, 300),
}
_WINDOWS = {"1h": 3600.0, "24h": 86400.0}  # seconds


class Metrics:
    """The collectors. Set only from what really happened."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._durations = {
            phase: Histogram(
                f"{phase}_duration_seconds",
                f"Time of phase {phase}.",
                ["status", "owner"],
                buckets=buckets,
                registry=self.registry,
            )
            for phase, buckets in _BUCKETS.items()
        }
        # The original's name for a counter; today's convention wants another, so there are both.
        self._total_jobs = Gauge(
            "total_jobs",
            "Builds by their end, as builds_ended_total.",
            ["status", "phase", "owner"],
            registry=self.registry,
        )
        self._builds_ended = Counter(
            "builds_ended",
            "Builds by their end.",
            ["status", "phase", "owner"],
            registry=self.registry,
        )
        self.concurrent_jobs = Gauge(
            "concurrent_jobs_total", "Builds that run now.", registry=self.registry
        )
        success_rate = Gauge(
            "job_success_rate",
            "Share of succeeded builds among those whose end this replica recorded in the window.",
            ["window"],
            registry=self.registry,
        )
        self.health = Gauge(
            "health_check", "1 where the dependency answers.", ["service"], registry=self.registry
        )
        self.submitted = Counter(
            "builds_submitted", "Builds dispatched by this replica.", registry=self.registry
        )
        self.dispatch_errors = Counter(
            "dispatch_errors", "Dispatches that failed.", ["error"], registry=self.registry
        )
        self.stream_watchers = Gauge(
            "log_stream_watchers", "Open log streams of clients.", registry=self.registry
        )
        self.upstream_follows = Gauge(
            "log_upstream_follows", "Log files followed in Nomad.", registry=self.registry
        )
        self.reconnects = Counter(
            "nomad_stream_reconnects", "Streams from Nomad begun again.", registry=self.registry
        )
        self._ends: deque[tuple[float, bool]] = deque(maxlen=100_000)
        for window, seconds in _WINDOWS.items():
            success_rate.labels(window).set_function(partial(self._rate, seconds))

    def ended(self, build: Build) -> None:
        """Count a build whose end this replica recorded."""
        owner = (build.config or {}).get("owner", "")
        for phase, view in build.phases.items():
            if view.duration_seconds is not None and view.status != "skipped":
                self._durations[phase].labels(view.status, owner).observe(view.duration_seconds)
        phase = (build.failure or {}).get("phase", "")
        for total in (self._total_jobs, self._builds_ended):
            total.labels(str(build.status), phase, owner).inc()
        if build.status is not Status.CANCELLED:
            self._ends.append((time.monotonic(), build.status is Status.SUCCEEDED))

    def _rate(self, seconds: float) -> float:
        since = time.monotonic() - seconds
        ends = [succeeded for at, succeeded in self._ends if at >= since]
        return sum(ends) / len(ends) if ends else float("nan")
