"""What a webhook says, how it is signed, and when it is tried again."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract.results import failure
from controller.history.records import Record
from controller.status.build import Build, Status
from controller.webhooks import message, plan
from controller.webhooks.marks import Mark, decode, mark_of, wanted

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def record(status: Status = Status.SUCCEEDED, lines: int = 3) -> Record:
    failed = failure("test", "TestFailed", "x" * 100, log_tail=["a"] * 99)
    build = Build(
        "default.image-build.1",
        "image-build/dispatch-1",
        status,
        submitted_at="2026-11-23T10:00:00.000Z",
        finished_at="2026-11-23T10:00:02.500Z",
        config={
            "owner": "team",
            "repo_url": "https://git.example.com/x",
            "git_ref": "main",
            "image_name": "app",
            "image_tags": ["v1"],
            "webhook_headers": {"X-Team": "(hidden)"},
        },
        failure=failed if status is Status.FAILED else None,
        digest="sha256:" + "0" * 64,
    )
    tails = {"build": [f"2026-11-23T10:00:01.000Z stdout line {n} é" for n in range(lines)]}
    return Record(build, tails)


def test_the_body_has_the_originals_fields_and_ours() -> None:
    body = message.document(record())
    assert body["event"] == "job.completed"
    assert (body["status"], body["duration"]) == ("SUCCEEDED", 2_500_000_000)
    assert body["timestamp"] == "2026-11-23T10:00:02.500Z"
    assert [body[name] for name in ("owner", "git_ref", "image_name", "image_tags")] == [
        "team",
        "main",
        "app",
        ["v1"],
    ]
    assert body["logs"]["build"] == ["line 0 é", "line 1 é", "line 2 é"]
    assert not {"error", "phase"} & set(body)
    assert "X-Team" not in json.dumps(body)
    failed = message.document(record(Status.FAILED))
    assert (failed["event"], failed["phase"]) == ("job.failed", "test")
    assert failed["error"].startswith("test: TestFailed: ")
    assert len(failed["failure"]["log_tail"]) == 20
    assert message.document(record(Status.CANCELLED))["event"] == "job.cancelled"


def test_the_body_is_small_and_the_same_each_time() -> None:
    long = record(Status.FAILED, lines=5000)
    raw = message.encode(message.document(long))
    assert len(raw) < 32_000
    assert raw == message.encode(message.document(long))
    assert "line 4999" in raw.decode()


@given(st.text(min_size=1).filter(lambda text: text.isascii()), st.binary(), st.integers(0, 2**40))
def test_a_receiver_can_verify(key: str, body: bytes, now: int) -> None:
    sent = message.headers("job", "job.failed", body, now=now, key=key, further={"X-A": "b"})
    dated = f"{sent['X-Webhook-Id']}.{sent['X-Webhook-Timestamp']}.".encode() + body
    for name, signed in (("X-Webhook-Signature", body), ("X-Webhook-Signature-V2", dated)):
        wanted = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
        assert sent[name] == f"sha256={wanted}"
    assert sent["X-A"] == "b"


def test_a_known_signature() -> None:
    """The value of RFC 4231's second test case."""
    sent = message.headers("j", "e", b"what do ya want for nothing?", now=1, key="Jefe", further={})
    assert sent["X-Webhook-Signature"] == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_the_id_is_that_of_the_event_and_without_a_key_nothing_is_signed() -> None:
    first = message.headers("j", "job.failed", b"", now=1, key=None, further={})
    again = message.headers("j", "job.failed", b"", now=99, key="k", further={})
    other = message.headers("k", "job.failed", b"", now=1, key=None, further={})
    assert first["X-Webhook-Id"] == again["X-Webhook-Id"] != other["X-Webhook-Id"]
    assert not [name for name in first if "Signature" in name]


@pytest.mark.parametrize(
    ("status", "again", "delivered"),
    [
        (200, False, True),
        (204, False, True),
        (302, False, False),
        (400, False, False),
        (404, False, False),
        (429, True, False),
        (500, True, False),
        (503, True, False),
    ],
)
def test_which_answers_are_tried_again(status: int, again: bool, delivered: bool) -> None:
    assert (plan.again(status), plan.delivered(status)) == (again, delivered)


@given(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e9)))
def test_four_tries_within_about_the_window(chance: float, asked: float | None) -> None:
    pauses = [plan.pause(tries, 600, asked, lambda: chance) for tries in (1, 2, 3)]
    assert all(pause is not None and 0 < pause <= 720 for pause in pauses)
    if asked is None:
        assert pauses == sorted(pauses)
        assert 450 <= sum(pause or 0 for pause in pauses) <= 720
    elif asked <= 600:
        assert all((pause or 0) >= asked for pause in pauses)
    assert plan.pause(4, 600, asked, lambda: chance) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("9" * 400, 999_999_999),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert plan.retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_survived(value: str) -> None:
    found = plan.retry_after(value, NOW)
    assert found is None or found >= 0


def test_who_wants_a_webhook() -> None:
    asked = {"webhook_url": "https://x", "webhook_on_success": False, "webhook_on_failure": True}
    assert not wanted(asked, Status.SUCCEEDED)
    assert wanted(asked, Status.FAILED)
    assert wanted(asked, Status.CANCELLED)
    neither = asked | {"webhook_on_failure": False}
    assert not any(wanted(neither, status) for status in Status if status.final)
    assert not wanted(asked | {"webhook_url": None}, Status.FAILED)
    assert not wanted(None, Status.FAILED)


def test_a_mark_is_read_as_it_was_written_and_later_ones_are_left_alone() -> None:
    request = {
        "webhook_url": "https://x/?a=b",
        "webhook_secret": "secret/nomad-build-service/webhook/x",
        "webhook_headers": {"X-A": "b"},
    }
    mark = mark_of(request, 12.5)
    assert (
        decode(mark.encode())
        == mark
        == Mark("https://x/?a=b", request["webhook_secret"], {"X-A": "b"}, 12.5)
    )
    for other in (
        b"[]",
        b"{}",
        b'{"schema":1}',
        b'{"schema":1,"url":"https://x/","secret":null,"headers":{},"due":"x"}',
        mark.encode().replace(b'"tries"', b'"attempts"'),
    ):
        with pytest.raises(ValueError, match="version"):
            decode(other)
    with pytest.raises(ValueError, match="version"):
        decode(mark.encode().replace(b'"schema":1', b'"schema":2'))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"null",
        b'{"schema":1}',
        b'{"schema":1,"url":"https://x/","secret":null,"headers":{},"due":1,"later":2}',
        b'{"schema":1,"url":"https://x/","secret":null,"headers":{},"due":"soon"}',
        b'{"schema":1,"url":"https://x/","secret":null,"headers":{},"due":null}',
        b'{"schema":1,"url":["https://x/"],"secret":null,"headers":{},"due":1}',
        b'{"schema":1,"url":"https://a..b/","secret":null,"headers":{},"due":1}',
    ],
)
def test_a_mark_that_cannot_be_used_is_refused_in_one_way(raw: bytes) -> None:
    """Any other exception would end the controller, and that of every replica."""
    with pytest.raises(ValueError):
        decode(raw)


def test_a_host_that_does_not_answer_leaves_room_for_the_others() -> None:
    slow = [(f"a{number}", "slow.example") for number in range(50)]
    others = [(f"b{number}", f"h{number}.example") for number in range(50)]
    chosen = plan.room([*slow, *others], [])
    assert chosen[: plan.AT_ONCE_OF_A_HOST] == ["a0", "a1", "a2", "a3"]
    assert len(chosen) == plan.AT_ONCE
    assert [one for one in chosen if one.startswith("b")] == [f"b{n}" for n in range(12)]
    assert plan.room(slow, ["slow.example"] * 3) == ["a0"]
    assert plan.room(others, ["x.example"] * plan.AT_ONCE) == []
