"""Builds of several architectures as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.contract.results import failure
from controller.status.build import Build, Status
from controller.status.combined_build import Other, combine

OWN, THEIRS = "sha256:" + "1" * 64, "sha256:" + "2" * 64
INDEX = "sha256:" + "3" * 64
FIRST = Build(
    "default.image-build-intel.1",
    "image-build-intel/dispatch-1",
    Status.SUCCEEDED,
    submitted_at="2026-01-01T00:00:00Z",
    finished_at="2026-01-01T00:01:00Z",
    commit="c" * 40,
    image="registry.example.com/a",
    digest=OWN,
    steps=({"platform": "linux/amd64"},),
)
PART = replace(
    FIRST,
    job_id="default.image-build-arm.2",
    digest=THEIRS,
    finished_at="2026-01-01T00:02:00Z",
    steps=({"platform": "linux/arm64"},),
)
PUBLISHED: dict[str, Any] = {"digest": INDEX, "references": ("registry.example.com/a:1",)}


def combined(first: Build, part: Build | None) -> Build:
    other = Other("default.image-build-arm.2", ("linux/arm64",), part)
    return combine(first, ["linux/amd64"], [other])


@pytest.mark.parametrize(
    ("first", "part"),
    [(replace(FIRST, **PUBLISHED), PART), (FIRST, replace(PART, **PUBLISHED))],
)
def test_whichever_published_gives_the_result(first: Build, part: Build) -> None:
    whole = combined(first, part)
    assert (whole.status, whole.digest, whole.references) == (
        Status.SUCCEEDED,
        INDEX,
        PUBLISHED["references"],
    )
    assert whole.job_id == FIRST.job_id
    assert whole.finished_at == PART.finished_at
    assert [step["platform"] for step in whole.steps] == ["linux/amd64", "linux/arm64"]
    assert [one["platforms"] for one in whole.platform_jobs] == [["linux/amd64"], ["linux/arm64"]]


def test_it_waits_for_those_that_run() -> None:
    running = replace(PART, status=Status.BUILDING, finished_at=None, digest=None)
    whole = combined(FIRST, running)
    assert (whole.status, whole.finished_at, whole.digest) == (Status.PUBLISHING, None, None)
    assert "linux/arm64 (build default.image-build-arm.2): BUILDING" in whole.message
    pending = replace(running, status=Status.PENDING, message="no node has 4096 MB free")
    assert "PENDING, no node has 4096 MB free" in combined(FIRST, pending).message


def test_a_failure_of_another_is_named_with_its_build() -> None:
    failed = replace(
        PART, status=Status.FAILED, failure=failure("build", "RunFailed", "line 2 failed")
    )
    whole = combined(FIRST, failed)
    assert whole.status is Status.FAILED
    assert whole.failure is not None
    assert whole.failure["message"] == (
        "linux/arm64 (build default.image-build-arm.2): line 2 failed"
    )
    assert whole.failure["job_id"] == PART.job_id
    assert (whole.digest, whole.references) == (None, ())
    running = combined(replace(FIRST, status=Status.TESTING, finished_at=None), failed)
    assert running.status is Status.TESTING
    assert "has not succeeded" in running.message


def test_where_one_has_published_nothing_takes_that_back() -> None:
    """Two may publish the same list at the same moment, and one of them fail afterwards."""
    failed = replace(FIRST, status=Status.FAILED, failure=failure("publish", "PublishFailed", "x"))
    whole = combined(failed, replace(PART, **PUBLISHED))
    assert (whole.status, whole.failure, whole.digest) == (Status.SUCCEEDED, None, INDEX)
    left = replace(failed, references=PUBLISHED["references"])  # a tag that could not be taken back
    assert combined(left, PART).status is Status.FAILED


def test_stopped_for_another_it_says_what_failed_there() -> None:
    lost = replace(PART, status=Status.FAILED, failure=failure("test", "TestFailed", "test 1"))
    stopped = replace(FIRST, status=Status.CANCELLED)
    whole = combined(stopped, lost)
    assert whole.status is Status.FAILED
    assert whole.failure is not None
    assert (whole.failure["reason"], whole.failed_in) == ("TestFailed", PART.job_id)
    by_somebody = combined(stopped, replace(PART, status=Status.CANCELLED))
    assert by_somebody.status is Status.CANCELLED


def test_a_failure_of_one_counts_before_the_stop_of_another() -> None:
    lost = replace(PART, status=Status.FAILED, failure=failure("test", "TestFailed", "test 1"))
    others = [
        Other(
            "default.image-build-s390x.3", ("linux/s390x",), replace(lost, status=Status.CANCELLED)
        ),
        Other(PART.job_id, ("linux/arm64",), lost),
    ]
    whole = combine(FIRST, ["linux/amd64"], others)
    assert whole.status is Status.FAILED
    assert whole.failed_in == PART.job_id


def test_a_failure_names_no_build_but_its_own() -> None:
    """What a failure says comes from a file that a build could write."""
    told = failure("build", "RunFailed", "x") | {"job_id": "default.image-build.somebody-elses"}
    assert replace(FIRST, status=Status.FAILED, failure=told).failed_in == FIRST.job_id
    odd = told | {"job_id": ["x"]}
    assert replace(FIRST, status=Status.FAILED, failure=odd).failed_in == FIRST.job_id


def test_its_own_failure_needs_no_other() -> None:
    own = failure("test", "TestFailed", "test 1 failed")
    failed = replace(FIRST, status=Status.FAILED, failure=own)
    running = replace(PART, status=Status.BUILDING)
    whole = combined(failed, running)
    assert (whole.status, whole.failure) == (Status.FAILED, own)
    assert [one["status"] for one in whole.platform_jobs] == ["FAILED", "BUILDING"]


def test_a_stop_of_another_is_no_failure() -> None:
    whole = combined(FIRST, replace(PART, status=Status.CANCELLED))
    assert (whole.status, whole.failure) == (Status.CANCELLED, None)
    assert "was stopped" in whole.message


def test_one_that_is_gone_is_no_success() -> None:
    whole = combined(FIRST, None)
    assert whole.status is Status.FAILED
    assert whole.failure is not None
    assert "removed" in whole.failure["message"]


@pytest.mark.parametrize(
    ("commit", "reason"), [("d" * 40, "CommitsDiffer"), ("c" * 40, "PublishFailed")]
)
def test_without_an_index_nothing_is_published(commit: str, reason: str) -> None:
    whole = combined(FIRST, replace(PART, commit=commit))
    assert whole.status is Status.FAILED
    assert whole.failure is not None
    assert whole.failure["reason"] == reason
    assert whole.digest is None
