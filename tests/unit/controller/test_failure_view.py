"""What getFailure says to do next agrees with what the list of reasons says."""

from __future__ import annotations

import pytest

from controller.contract.reasons import REASONS
from controller.contract.results import failure
from controller.status import failure_view
from controller.status.build import Build, Status


@pytest.mark.parametrize("reason", REASONS)
def test_what_to_do_next_agrees_with_the_reason(reason: str) -> None:
    build = Build(
        "default.image-build.1-a",
        "image-build/dispatch-1-a",
        Status.FAILED,
        failure=failure("publish", reason, "what went wrong"),
    )
    answer = failure_view.view(build)
    known = REASONS[reason]
    assert (answer["fix_owner"], answer["retryable"]) == (known.fix_owner, known.retryable)
    assert ("will not help" in answer["next"]) == (
        known.fix_owner == "operator" and not known.retryable
    )
    assert ("operators" in answer["next"]) == (known.fix_owner == "operator")
    if known.fix_owner == "transient" or (known.fix_owner, known.retryable) == ("operator", True):
        assert "idempotency_key" in answer["next"]
    assert "{" not in answer["next"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.SUCCEEDED, "the build succeeded"),
        (Status.CANCELLED, "the build was stopped"),
        (Status.BUILDING, "has not ended"),
    ],
)
def test_a_build_that_did_not_fail_is_told_from_others(status: Status, words: str) -> None:
    answer = failure_view.view(Build("default.image-build.1-a", "image-build/dispatch-1-a", status))
    assert not answer["failed"]
    assert words in answer["next"]
