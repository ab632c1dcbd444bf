"""What cleanup removes, what it keeps, and that it stays removed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, serving

from cluster.cluster import Cluster
from controller.history import summary
from controller.history.records import PREFIX, REMOVED

pytestmark = pytest.mark.slow


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(cluster, tmp_path) as one:
        yield one


def cleanup(served: Serving, **request: Any) -> dict[str, Any]:
    answer = served.post("cleanup", request)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def keys(cluster: Cluster, job_id: str) -> list[str]:
    """What the history has of a build."""
    found = httpx.get(
        f"{cluster.consul.address}/v1/kv/nomad-build-service/?keys", headers=cluster.consul.headers
    ).json()
    return sorted(
        key.removeprefix("nomad-build-service/").split("/")[0]
        for key in found
        if key.endswith(f"/{job_id}")
    )


def ended(builds: Builds, cluster: Cluster, **fields: Any) -> str:
    """A build that has ended and is recorded."""
    job_id = builds.submit(builds.request(builds.dockerfile("RUN true"), **fields))
    builds.await_status(job_id, "SUCCEEDED")
    eventually("it is recorded", lambda: keys(cluster, job_id) == ["history", "index"])
    return job_id


def directory(builds: Builds, alloc_id: str) -> bool:
    found = builds.nomad.get(f"/v1/client/fs/stat/{alloc_id}", params={"path": "/"})
    return found.status_code == 200


def test_one_build(builds: Builds, cluster: Cluster, served: Serving, tmp_path: Path) -> None:
    """Record, logs and job go, on every replica, and no replica brings the record back."""
    job_id = ended(builds, cluster)
    alloc_id = builds.allocation(nomad_job_id(job_id))["ID"]
    would = cleanup(served, job_id=job_id, dry_run=True)
    assert would["dry_run"]
    assert would["removed"] == {"history": [job_id], "logs": [alloc_id], "images": []}
    assert would["cleaned_jobs"] == [job_id]
    assert keys(cluster, job_id) == ["history", "index"]
    assert directory(builds, alloc_id)

    with serving(cluster, tmp_path, {"NBS_RELIST_INTERVAL": "0.2"}) as other:
        assert other.post("getStatus", {"job_id": job_id}).status_code == 200
        done = cleanup(served, job_id=job_id)
        assert done | {"message": "", "dry_run": True} == would | {"message": ""}
        assert done["success"]
        assert keys(cluster, job_id) == ["removed"]
        assert not directory(builds, alloc_id)
        assert (
            builds.nomad.get(f"/v1/job/{nomad_job_id(job_id).replace('/', '%2F')}").status_code
            == 404
        )
        assert served.post("getStatus", {"job_id": job_id}).status_code == 404
        eventually(
            "the other replica has forgotten it",
            lambda: other.post("getStatus", {"job_id": job_id}).status_code == 404,
            10,
        )
        again = cleanup(other, job_id=job_id)
        assert again["success"]
        assert again["removed"] == {"history": [], "logs": [], "images": []}
    assert served.metric('cleanup_removed_total{cause="request",kind="history"}') == 1
    assert served.metric('cleanup_removed_total{cause="request",kind="logs"}') == 1


def test_a_replica_does_not_record_what_was_removed(
    builds: Builds, cluster: Cluster, served: Serving, tmp_path: Path
) -> None:
    """Nomad's dead job is still there, as where its purge failed: new replicas leave it alone."""
    job_id = ended(builds, cluster)
    record = httpx.get(
        f"{cluster.consul.address}/v1/kv/{PREFIX}{job_id}?raw", headers=cluster.consul.headers
    ).json()
    day = summary.day_of(record["build"]["submitted_at"])
    steps = [
        {"KV": {"Verb": "delete", "Key": PREFIX + job_id}},
        {"KV": {"Verb": "delete", "Key": summary.key(day, job_id)}},
        {"KV": {"Verb": "set", "Key": REMOVED + job_id, "Value": "MjAyNg=="}},
    ]
    httpx.put(
        f"{cluster.consul.address}/v1/txn", headers=cluster.consul.headers, json=steps
    ).raise_for_status()
    owner = record["build"]["config"]["owner"]
    with serving(cluster, tmp_path, {"NBS_RELIST_INTERVAL": "0.2"}) as fresh:
        # A build that ends after its start proves that it has dealt with the older ones.
        ended(builds, cluster)
        assert keys(cluster, job_id) == ["removed"]
        assert fresh.post("getHistory", {"owner": owner}).json()["total"] == 0
        # What an interrupted cleanup left is found again.
        done = cleanup(fresh, all=True, owner=owner)
        assert done["cleaned_jobs"] == [job_id]
        assert len(done["removed"]["logs"]) == 1
    assert keys(cluster, job_id) == ["removed"]


def test_all_builds_of_an_owner(builds: Builds, cluster: Cluster, served: Serving) -> None:
    owner = f"owner-{id(builds)}"
    other = ended(builds, cluster)
    gone = [ended(builds, cluster, owner=owner) for _ in range(3)]
    running = builds.submit(
        builds.request(builds.dockerfile("RUN echo begun; sleep 60"), owner=owner)
    )
    builds.await_log(running, "begun")
    part = cleanup(served, all=True, owner=owner, limit=2, dry_run=True)
    assert (len(part["cleaned_jobs"]), part["remaining"]) == (2, 1)
    done = cleanup(served, all=True, owner=owner)
    assert sorted(done["cleaned_jobs"]) == sorted(gone)
    assert sorted(done["removed"]["history"]) == sorted(gone)
    assert [kept["job_id"] for kept in done["kept"]] == [running]
    assert "killJob" in done["kept"][0]["why"]
    assert done["success"]  # nothing asked for stays: only ended builds were
    assert served.post("getStatus", {"job_id": other}).json()["status"] == "SUCCEEDED"
    refused = cleanup(served, job_id=running)
    assert not refused["success"]
    assert refused["cleaned_jobs"] == []
    assert "killJob" in refused["kept"][0]["why"]
    builds.await_status(running, "BUILDING")
    builds.http.post("/mcp/killJob", json={"job_id": running})
    builds.await_status(running, "CANCELLED")
    assert cleanup(served, job_id=running)["cleaned_jobs"] == [running]


def test_replicas_that_clean_up_at_once(
    builds: Builds, cluster: Cluster, served: Serving, tmp_path: Path
) -> None:
    """Each record is named by one of them, and nothing fails because the other was faster."""
    owner = f"owner-{id(cluster)}"
    gone = [ended(builds, cluster, owner=owner) for _ in range(3)]
    with serving(cluster, tmp_path) as other, ThreadPoolExecutor() as threads:
        calls = [threads.submit(cleanup, one, all=True, owner=owner) for one in (served, other) * 3]
        answers = [call.result() for call in calls]
    # (Who looks while another removes may see a build without its allocation, as if it waited.)
    assert all(answer["success"] for answer in answers), [answer["kept"] for answer in answers]
    named = [job_id for answer in answers for job_id in answer["removed"]["history"]]
    assert sorted(named) == sorted(gone)
    assert [keys(cluster, job_id) for job_id in gone] == [["removed"]] * 3


def test_by_age(builds: Builds, cluster: Cluster, served: Serving) -> None:
    job_id = ended(builds, cluster)
    owner = builds.status(job_id)["config"]["owner"]
    assert cleanup(served, older_than="1h", owner=owner)["cleaned_jobs"] == []
    assert cleanup(served, older_than="0s", owner=owner)["cleaned_jobs"] == [job_id]


def test_the_retention_removes_what_is_old(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    """Two replicas apply it at once; each removed build is counted once."""
    job_id = ended(builds, cluster)
    settings = {"NBS_HISTORY_RETENTION": "1s", "NBS_RETENTION_INTERVAL": "0.5"}

    def counted(one: Serving) -> float:
        return one.metric('cleanup_removed_total{cause="retention",kind="history"}')

    before = len(
        httpx.get(
            # Other deployments have theirs in the same Consul.
            f"{cluster.consul.address}/v1/kv/{PREFIX}default.image-build?keys",
            headers=cluster.consul.headers,
        ).json()
    )
    with serving(cluster, tmp_path, settings) as one, serving(cluster, tmp_path, settings) as two:
        eventually("the old build is gone", lambda: keys(cluster, job_id) == ["removed"])
        eventually("each is counted once", lambda: counted(one) + counted(two) >= before, 20)
        assert counted(one) + counted(two) == before


def test_wrong_requests_are_named(served: Serving) -> None:
    for request in (
        {},
        {"all": False},
        {"job_id": "default.image-build.1-a", "all": True},
        {"older_than": "1d", "all": True},
        {"older_than": "soon"},
        {"all": True, "limit": 0},
        {"job_id": "default.image-build.1-a", "owner": "me"},
    ):
        answer = served.post("cleanup", request)
        assert answer.status_code == 422, answer.text
    unknown = served.post("cleanup", {"job_id": "default.image-build.1-a"})
    assert unknown.status_code == 404
    foreign = served.post("cleanup", {"job_id": "default.other-image-build.1-a"})
    assert foreign.status_code == 404
