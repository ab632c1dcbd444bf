"""Every metric of the controller, with the original's names, in a registry that is passed in.

Counters and histograms: a replica counts the builds whose end it was the first to record, so sums
over replicas are right and a restart counts nothing twice. Gauges of builds are read from Nomad and
the history and are the same on every replica (`gauges`, `status.watch`).

Names are the original's. Where Prometheus' conventions want another name or unit there are both.
`owner` is a label because the original's queries use it; only so many owners get one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from controller.contract import image_index
from controller.contract.results import PHASES
from controller.status.build import Build, seconds_between

_BUCKETS = {
    "build": (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600),
    "test": (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800),
    "publish": (1, 5, 15, 30, 60, 120, 300),
    "queue": (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400),
}
SUCCESS_WINDOWS = {"1h": 3600, "24h": 86400, "7d": 7 * 86400}  # seconds
_OTHER = "_other"
_MEGABYTE = 1 << 20


class Metrics:
    """The collectors. Set only from what really happened."""

    def __init__(self, registry: CollectorRegistry | None = None, owners: int = 100) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._most_owners = owners
        self._owners: set[str] = set()
        self._durations = {
            phase: Histogram(
                f"{phase}_duration_seconds",
                f"Time of phase {phase}.",
                ["status", "owner"],
                buckets=_BUCKETS[phase],
                registry=self.registry,
            )
            for phase in PHASES
        }
        self._queue = Histogram(
            "build_queue_seconds",
            "Time from submission to the start of phase build.",
            buckets=_BUCKETS["queue"],
            registry=self.registry,
        )
        # The original's name for a counter; today's convention wants another, so there are both.
        self._total_jobs = self._gauge(
            "total_jobs", "Builds by their end, as builds_ended_total.", "status", "phase", "owner"
        )
        self._builds_ended = self._counter(
            "builds_ended", "Builds by their end.", "status", "phase", "owner"
        )
        self._concurrent = self._gauge(
            "concurrent_jobs_total", "Builds that run now, as builds_running."
        )
        self._running = self._gauge(
            "builds_running", "Builds that run now; the same on every replica."
        )
        self._pending = self._gauge(
            "builds_pending", "Builds that wait for a node; the same on every replica."
        )
        self._success = self._gauge(
            "job_success_rate",
            "Share of succeeded builds among those that succeeded or failed in the window; "
            "the same on every replica.",
            "window",
        )
        self._usage = self._gauge(
            "resource_usage",
            "What running builds use: cpu in MHz; memory in MB; disk: MB used on the file systems "
            "of their nodes' allocations. Needs telemetry.publish_allocation_metrics in Nomad's "
            "clients. No job_id: see the job in Nomad. The same on every replica.",
            "resource_type",
        )
        self._cores = self._gauge("builds_cpu_cores", "CPU cores that running builds use.")
        self._memory = self._gauge("builds_memory_bytes", "Memory that running builds use.")
        self._disk = self._gauge(
            "builds_disk_bytes", "Used on the file systems of the allocations of running builds."
        )
        self.health = self._gauge("health_check", "1 where the dependency answers.", "service")
        self.submitted = self._counter("builds_submitted", "Builds dispatched by this replica.")
        self.dispatch_errors = self._counter("dispatch_errors", "Dispatches that failed.", "error")
        self.cleanup_removed = self._counter(
            "cleanup_removed",
            "What cleanup removed: kind is history, logs or images; cause is request or retention.",
            "kind",
            "cause",
        )
        self.webhooks = self._counter(
            "webhook_deliveries",
            "Tries to deliver a webhook: result is delivered, retried (it failed and is tried "
            "again) or failed (for good).",
            "result",
        )
        self.stream_watchers = self._gauge("log_stream_watchers", "Open log streams of clients.")
        self.upstream_follows = self._gauge("log_upstream_follows", "Log files followed in Nomad.")
        self.reconnects = self._counter(
            "nomad_stream_reconnects", "Streams from Nomad begun again."
        )

    def ended(self, build: Build) -> None:
        """Count a build whose end this replica recorded."""
        owner = self._owner((build.config or {}).get("owner", ""))
        for phase, view in build.phases.items():
            if view.duration_seconds is not None and view.status != "skipped":
                self._durations[phase].labels(view.status, owner).observe(view.duration_seconds)
        if build.submitted_at and (started := build.phases[PHASES[0]].started_at):
            self._queue.observe(seconds_between(build.submitted_at, started))
        if image_index.is_part(build.config):
            return  # its whole counts as one
        phase = (build.failure or {}).get("phase", "")
        for total in (self._total_jobs, self._builds_ended):
            total.labels(str(build.status), phase, owner).inc()

    def builds(self, *, running: int, pending: int) -> None:
        """Set how many builds Nomad has."""
        self._concurrent.set(running)
        self._running.set(running)
        self._pending.set(pending)

    def success(self, rates: Mapping[str, float] | None = None) -> None:
        """Set the share of succeeded builds by window; NaN where none ended or nobody knows."""
        for window in SUCCESS_WINDOWS:
            self._success.labels(window).set((rates or {}).get(window, math.nan))

    def usage(
        self, *, megahertz: float = math.nan, cores: float = math.nan, memory: float = math.nan
    ) -> None:
        """Set what running builds use, memory in bytes; NaN where it is not known."""
        self._usage.labels("cpu").set(megahertz)
        self._usage.labels("memory").set(memory / _MEGABYTE)
        self._cores.set(cores)
        self._memory.set(memory)

    def disk(self, used: float = math.nan) -> None:
        """Set the bytes used on the file systems of running builds' allocations."""
        self._usage.labels("disk").set(used / _MEGABYTE)
        self._disk.set(used)

    def _owner(self, owner: str) -> str:
        """The owner as a label: callers choose names, and memory must not grow with them."""
        if owner not in self._owners and len(self._owners) >= self._most_owners:
            return _OTHER
        self._owners.add(owner)
        return owner

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self.registry)
