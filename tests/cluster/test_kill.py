"""Builds that are stopped: CANCELLED, nothing published, nothing left."""

from __future__ import annotations

from builds import Builds, eventually, nomad_job_id


def kill(builds: Builds, job_id: str) -> None:
    answer = builds.http.post("/mcp/killJob", json={"job_id": job_id})
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True, answer.text


def test_kill_while_building(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN echo has-begun; sleep 300"))
    job_id = builds.submit(request)
    builds.await_log(job_id, "has-begun")
    kill(builds, job_id)
    builds.await_status(job_id, "CANCELLED")
    assert builds.tags(request) == []
    builds.assert_clean(builds.await_end(nomad_job_id(job_id))["ID"])


def test_kill_while_testing(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"), test_commands=["echo has-begun; sleep 300 & sleep 300"]
    )
    job_id = builds.submit(request)
    builds.await_log(job_id, "has-begun")
    builds.await_status(job_id, "TESTING")
    kill(builds, job_id)
    builds.await_status(job_id, "CANCELLED")
    assert builds.tags(request) == []
    builds.assert_clean(builds.await_end(nomad_job_id(job_id))["ID"])


def test_kill_while_pending(builds: Builds) -> None:
    """No node is eligible, so the build waits; after the kill it must never run."""
    node = builds.cluster.nomad.node()["ID"]
    url = f"/v1/node/{node}/eligibility"
    request = builds.request(builds.dockerfile("RUN true"))
    builds.nomad.post(url, json={"NodeID": node, "Eligibility": "ineligible"}).raise_for_status()
    try:
        job_id = builds.submit(request)
        assert builds.status(job_id)["status"] == "PENDING"
        kill(builds, job_id)
        builds.await_status(job_id, "CANCELLED")
    finally:
        builds.nomad.post(url, json={"NodeID": node, "Eligibility": "eligible"}).raise_for_status()
    eventually(
        "no evaluation is left",
        lambda: all(
            evaluation["Status"] in ("complete", "canceled", "cancelled")
            for evaluation in builds.nomad.get(
                f"/v1/job/{nomad_job_id(job_id).replace('/', '%2F')}/evaluations"
            ).json()
        ),
    )
    assert builds.allocation(nomad_job_id(job_id)) is None
    assert builds.tags(request) == []
    assert builds.status(job_id)["status"] == "CANCELLED"


def test_kill_of_an_ended_build_changes_nothing(builds: Builds) -> None:
    status = builds.run(builds.request(builds.dockerfile("RUN true")), "SUCCEEDED")
    answer = builds.http.post("/mcp/killJob", json={"job_id": status["job_id"]})
    assert answer.json()["success"] is False
    assert builds.status(status["job_id"])["status"] == "SUCCEEDED"
