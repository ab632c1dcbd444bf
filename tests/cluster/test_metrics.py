"""The metrics with a real Prometheus over two replicas, by the queries of the original."""

from __future__ import annotations

import json
import math
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from builds import Builds, eventually
from controllers import Serving, serving
from prometheus import RULES, scraping

from cluster.cluster import Cluster

# Each of them takes more than ten seconds, or starts programs that do.
pytestmark = pytest.mark.slow

FAST = {"NBS_RELIST_INTERVAL": "0.5"}
WORK = "RUN for i in $(seq 40); do head -c 20000000 /dev/zero | md5sum; sleep 0.2; done"


def family(served: Serving, name: str) -> dict[str, float]:
    """The samples of one name by their labels as text."""
    text = httpx.get(f"{served.metrics_address}/metrics").text
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def stop_deployed(builds: Builds) -> int:
    """No controller but the test's own: what they count is all there is. The count before."""
    job = builds.job("nomad-build-service")
    count = int(job["TaskGroups"][0]["Count"])
    scale(builds, 0)
    return count


def scale(builds: Builds, count: int) -> None:
    builds.nomad.post(
        "/v1/job/nomad-build-service/scale",
        json={"Count": count, "Target": {"Group": "controller"}},
    ).raise_for_status()


def alive(builds: Builds) -> list[str]:
    allocations = builds.nomad.get("/v1/job/nomad-build-service/allocations").json()
    return [one["ID"] for one in allocations if one["ClientStatus"] in ("running", "pending")]


def test_the_originals_queries_over_two_replicas(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    deployed = stop_deployed(builds)
    eventually("no deployed controller counts", lambda: not alive(builds))
    try:
        with serving(cluster, tmp_path, FAST) as one, serving(cluster, tmp_path, FAST) as two:
            metrics = [one.metrics_address, two.metrics_address]
            with scraping(tmp_path, metrics) as prometheus:
                _check(cluster, owner, (one, two), prometheus.query, tmp_path)
    finally:
        scale(builds, deployed)
        cluster.pack.wait_healthy()


def _check(
    cluster: Cluster,
    owner: str,
    replicas: tuple[Serving, Serving],
    query: Callable[[str], dict],
    tmp_path: Path,
) -> None:
    there = Builds(cluster, replicas[0].address)
    good = [
        there.submit(there.request(there.dockerfile("RUN true"), owner=owner)) for _ in range(2)
    ]
    bad = there.submit(
        there.request(there.dockerfile("RUN true"), owner=owner, test_commands=["exit 1"])
    )
    ends = [there.await_status(job_id, "SUCCEEDED") for job_id in good]
    ends.append(there.await_status(bad, "FAILED"))

    def counted() -> bool:
        found = query(f'sum by (status) (total_jobs{{owner="{owner}"}})')
        return found == {(("status", "SUCCEEDED"),): 2, (("status", "FAILED"),): 1}

    eventually("each end is counted once over the replicas", counted)
    same = query(f'sum by (status) (builds_ended_total{{owner="{owner}"}})')
    assert same == {(("status", "SUCCEEDED"),): 2, (("status", "FAILED"),): 1}

    # "Average build time by status": the original's histogram has no such series at all.
    mean = sum(end["phases"]["build"]["duration_seconds"] for end in ends) / 3
    eventually(
        "the average is that of the builds",
        lambda: math.isclose(
            query("avg(build_duration_seconds) by (status)").get((("status", "succeeded"),), 0),
            mean,
            rel_tol=0.001,
        ),
    )
    assert query("avg(test_duration_seconds) by (status)")[(("status", "failed"),)] > 0
    assert query("avg(publish_duration_seconds) by (status)")[(("status", "succeeded"),)] > 0
    total = query(f'sum(build_duration_seconds_count{{owner="{owner}"}})')
    assert total == {(): 3}
    assert query("sum(build_queue_seconds_count)")[()] == 3

    # "Job success rate over 24h": the same on each replica, from the history they share.
    expected = success_rate(replicas[0])
    eventually(
        "both replicas have read the history",
        lambda: all(
            math.isclose(value, expected)
            for value in query('job_success_rate{window="24h"}').values()
        ),
    )
    for window in ("1h", "24h", "7d"):
        rates = [family(one, "job_success_rate")[f'window="{window}"'] for one in replicas]
        assert rates[0] == rates[1]
    assert (("window", "24h"),) in query("job_window:job_success_rate:max")
    with serving(cluster, tmp_path, FAST) as restarted:
        eventually(
            "a replica that has just begun knows the rate",
            lambda: (
                (rates := family(restarted, "job_success_rate"))
                and math.isclose(rates['window="24h"'], expected)
            ),
            10,
        )
        assert family(restarted, "total_jobs") == {}  # and counts nothing again

    # "Current resource utilization", of a build that runs.
    job_id = there.submit(there.request(there.dockerfile(WORK), owner=owner))
    there.await_log(job_id, "  -")
    eventually("a build runs", lambda: query("job:concurrent_jobs:max") == {(): 1}, 30)
    eventually(
        "its usage is measured",
        lambda: (
            query('resource_usage{resource_type="cpu"}').get((("resource_type", "cpu"),), 0) > 10
            and query('resource_usage{resource_type="memory"}')[(("resource_type", "memory"),)] > 5
            and query('resource_usage{resource_type="disk"}')[(("resource_type", "disk"),)] > 100
        ),
        30,
    )
    assert query("max(builds_cpu_cores)")[()] > 0
    assert query("max(builds_memory_bytes)")[()] > 5 << 20
    there.http.post("/mcp/killJob", json={"job_id": job_id})
    there.await_status(job_id, "CANCELLED")
    eventually("nothing runs", lambda: query("job:concurrent_jobs:max") == {(): 0}, 30)
    eventually(
        "nothing is used",
        lambda: query('max(resource_usage{resource_type="cpu"})') == {(): 0},
        30,
    )


def success_rate(served: Serving) -> float:
    """Computed from the list of builds, as a caller would."""
    totals = {
        status: served.post("getHistory", {"status": status, "since": "24h", "limit": 1}).json()[
            "total"
        ]
        for status in ("SUCCEEDED", "FAILED")
    }
    return totals["SUCCEEDED"] / (totals["SUCCEEDED"] + totals["FAILED"])


def test_the_rules_are_well_formed() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_well_formed(
    cluster: Cluster, controller_address: str, tmp_path: Path
) -> None:
    """promtool reads them; what it objects to are the original's names."""
    with serving(cluster, tmp_path) as served:
        text = httpx.get(f"{served.metrics_address}/metrics").text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    words = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert [line for line in words if "concurrent_jobs_total" not in line] == []


def test_waiting_and_dispatch_errors_are_counted(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    """A build without room waits; one of a class without a job cannot be dispatched."""
    classes = json.dumps({"default": {}, "absent": {"cpu": 1}})
    with serving(cluster, tmp_path, FAST | {"NBS_BUILD_CLASSES": classes}) as served:
        request = builds.request(builds.dockerfile("RUN true"))
        refused = served.post("submitJob", {"job_config": request | {"class": "absent"}})
        assert refused.status_code == 503
        assert family(served, "dispatch_errors_total") == {'error="unavailable"': 1}
        assert family(served, "builds_submitted_total") == {"": 0}
        with no_room(builds):
            child = builds.dispatch(request)
            eventually("it waits", lambda: family(served, "builds_pending")[""] == 1, 20)
            path = f"/v1/job/{child.replace('/', '%2F')}"
            builds.nomad.delete(path).raise_for_status()
        eventually("it waits no more", lambda: family(served, "builds_pending")[""] == 0, 20)


@contextmanager
def no_room(builds: Builds) -> Iterator[None]:
    """No node takes new builds; what runs goes on."""
    node = builds.nomad.get("/v1/nodes").json()[0]["ID"]
    path = f"/v1/node/{node}/eligibility"
    builds.nomad.post(path, json={"Eligibility": "ineligible"}).raise_for_status()
    try:
        yield
    finally:
        builds.nomad.post(path, json={"Eligibility": "eligible"}).raise_for_status()
