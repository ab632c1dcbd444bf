"""What webhooks say and how they are signed, as a receiver checks it."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from controller import webhook_message
from controller.build import Build, PhaseView, Status
from controller.contract.results import failure

CONFIG = {
    "owner": "team",
    "repo_url": "https://git.example.com/a.git",
    "git_ref": "main",
    "image_name": "app",
    "image_tags": ["1"],
    "webhook_url": "https://hooks.example.com/x",
    "webhook_secret": None,
    "webhook_on_success": True,
    "webhook_on_failure": True,
}


def build(status: Status, **fields: object) -> Build:
    return Build(
        job_id="default.image-build.1-a",
        nomad_job_id="image-build/dispatch-1-a",
        status=status,
        submitted_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:02.500Z",
        config=CONFIG,
        phases={"build": PhaseView("succeeded", duration_seconds=1.5)},
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("on_success", [True, False])
@pytest.mark.parametrize("on_failure", [True, False])
def test_when_one_is_wanted(status: Status, on_success: bool, on_failure: bool) -> None:
    config = CONFIG | {"webhook_on_success": on_success, "webhook_on_failure": on_failure}
    expected = on_success if status is Status.SUCCEEDED else on_failure
    assert webhook_message.wanted(config, status) is expected
    assert not webhook_message.wanted(config | {"webhook_url": None}, status)
    of_secret = config | {"webhook_url": None, "webhook_secret": "secret/x"}
    assert webhook_message.wanted(of_secret, status) is expected


def test_the_original_s_keys_and_ours() -> None:
    said = json.loads(webhook_message.body(build(Status.SUCCEEDED), {}, "now"))
    assert said["event"] == "job.completed"
    assert said["duration"] == 2_500_000_000
    assert said["metrics"]["build_duration"] == 1_500_000_000
    for name in ("owner", "repo_url", "git_ref", "image_name", "image_tags"):
        assert said[name] == CONFIG[name]
    assert "error" not in said


def test_a_failure_is_told_with_few_lines() -> None:
    failed = build(Status.FAILED, failure=failure("test", "TestFailed", "no", log_tail=["x"] * 90))
    said = json.loads(webhook_message.body(failed, {"test": [str(n) for n in range(1000)]}, "now"))
    assert said["event"] == "job.failed"
    assert (said["phase"], said["failure"]["reason"]) == ("test", "TestFailed")
    assert said["error"] == "test: TestFailed: no"
    assert "log_tail" not in said["failure"]
    assert said["logs"]["test"] == [str(n) for n in range(980, 1000)]


def test_a_receiver_can_check_the_signatures() -> None:
    content = b'{"a": 1}'
    found = webhook_message.headers("id", 1_700_000_000, content, "key")
    plain = hmac.new(b"key", content, hashlib.sha256).hexdigest()
    assert found["X-Webhook-Signature"] == f"sha256={plain}"
    moment = found["X-Webhook-Timestamp"].encode()
    signed = hmac.new(b"key", b".".join((b"id", moment, content)), hashlib.sha256).hexdigest()
    assert found["X-Webhook-Signature-V2"] == f"sha256={signed}"
    assert "X-Webhook-Signature" not in webhook_message.headers("id", 1, content, "")
