"""waitForJob and getFailure: what an agent does after it has submitted a build."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from builds import ENDED, Builds

pytestmark = pytest.mark.slow


def call(builds: Builds, name: str, **document: Any) -> dict[str, Any]:
    answer = builds.http.post(f"/json/{name}", json=document, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_waiting_ends_with_the_build_and_shows_what_is_new(builds: Builds) -> None:
    repository = builds.dockerfile("RUN for i in 1 2 3 4; do echo line-$i; sleep 0.5; done")
    request = builds.request(repository, test_commands=["echo tested"])
    job_id = builds.submit(request)
    answers: list[dict[str, Any]] = []
    while not answers or not answers[-1]["final"]:
        after = answers[-1]["cursor"] if answers else None
        answers.append(call(builds, "waitForJob", job_id=job_id, timeout=1, lines=200, after=after))
        assert len(answers) < 60
    last = answers[-1]
    assert last["status"] == "SUCCEEDED", last
    assert last["references"] == [f"{request['registry_url']}/app:v1"]
    assert last["digest"] == builds.digest(request, "v1")
    assert len(answers) > 1
    assert "waitForJob" in answers[0]["next"]
    lines = [line for answer in answers for line in answer["lines"]]
    logs = builds.logs(job_id)
    assert lines == [f"[{phase}] {text}" for phase in logs for text in logs[phase]]
    assert any((answer["step"] or "").startswith("STEP 2/") for answer in answers)


def test_many_wait_for_one_build_and_all_hear_of_its_end_at_once(builds: Builds) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile("RUN sleep 2")))
    with ThreadPoolExecutor(12) as pool:
        waiting = [
            pool.submit(call, builds, "waitForJob", job_id=job_id, timeout=45) for _ in range(12)
        ]
        answers = [one.result() for one in waiting]
    assert {answer["status"] for answer in answers} == {"SUCCEEDED"}


def test_waiting_for_an_ended_build_answers_at_once(builds: Builds) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile()))
    builds.await_status(job_id, *ENDED)
    began = time.monotonic()
    answer = call(builds, "waitForJob", job_id=job_id, timeout=45, lines=3)
    assert time.monotonic() - began < 5
    assert answer["final"]
    assert len(answer["lines"]) == 3
    assert answer["lines_left_out"]
    again = call(builds, "waitForJob", job_id=job_id, after=answer["cursor"])
    assert again["lines"] == []


def test_looking_only_does_not_wait(builds: Builds) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile("RUN sleep 60")))
    try:
        answer = call(builds, "waitForJob", job_id=job_id, timeout=0)
        assert not answer["final"]
    finally:
        call(builds, "killJob", job_id=job_id)


def test_a_failure_is_told_in_one_short_answer(builds: Builds) -> None:
    """Even after a long log with long lines the answer fits in 2,000 tokens of 3 characters."""
    noise = "for i in $(seq 400); do echo $i; head -c 3000 /dev/zero | tr '\\\\0' x; echo; done"
    repository = builds.dockerfile(
        "RUN echo 'fatal: the configuration is broken' && "
        f"{noise.replace(chr(92) * 2, chr(92))} && echo done && exit 7"
    )
    job_id = builds.submit(builds.request(repository))
    builds.await_status(job_id, "FAILED")
    answer = builds.http.post("/mcp/getFailure", json={"job_id": job_id})
    found = answer.json()
    assert answer.status_code == 200, found
    assert len(answer.text) <= 6000
    assert found["failed"]
    assert (found["phase"], found["reason"], found["exit_code"]) == ("build", "RunFailed", 7)
    assert found["dockerfile_line"] == 2
    assert found["fix_owner"] == "author"
    assert not found["retryable"]
    assert any("the configuration is broken" in line for line in found["error_lines"]), found
    assert found["log_tail"]
    assert "submitJob" in found["next"]


def test_a_build_that_did_not_fail_says_so(builds: Builds) -> None:
    job_id = builds.submit(builds.request(builds.dockerfile()))
    assert call(builds, "getFailure", job_id=job_id)["failed"] is False
    builds.await_status(job_id, "SUCCEEDED")
    found = call(builds, "getFailure", job_id=job_id)
    assert (found["failed"], found["status"]) == (False, "SUCCEEDED")


def test_bad_waits_are_refused_with_every_field(builds: Builds) -> None:
    answer = builds.http.post(
        "/mcp/waitForJob", json={"job_id": "", "timeout": 46, "lines": "all", "aftr": ""}
    )
    assert answer.status_code == 422, answer.text
    fields = {problem["field"] for problem in answer.json()["problems"]}
    assert fields == {"job_id", "timeout", "lines", "aftr"}
    bad = builds.http.post(
        "/mcp/waitForJob", json={"job_id": "default.image-build.x", "after": "!"}
    )
    assert bad.status_code == 400, bad.text
    unknown = builds.http.post("/mcp/waitForJob", json={"job_id": "default.image-build.none"})
    assert unknown.status_code == 404, json.dumps(unknown.json())
