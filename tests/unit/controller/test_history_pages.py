"""Pages of builds: every build once, in order, with the right total, whatever the filters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import moments
from controller.contract.amounts import age
from controller.contract.field_error import FieldError
from controller.contract.git_names import same_repository
from controller.contract.log_line import utc
from controller.errors import MalformedRequestError
from controller.history import summary
from controller.history.query import Page, Position, Query, position
from controller.history.summary import Summary
from controller.status.build import Build, Status

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
SUMMARIES = st.lists(
    st.builds(
        lambda number, hours, owner, status: Summary(
            job_id=f"default.image-build.{number}",
            status=status,
            owner=owner,
            repo_url="https://git.example.com/team/app.git",
            created_at=utc(BEGIN + timedelta(hours=hours)),
        ),
        st.integers(0, 10**6),
        st.integers(0, 100),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["SUCCEEDED", "FAILED"]),
    ),
    max_size=40,
    unique_by=lambda one: one.job_id,
)


def read(query: Query, builds: Sequence[Summary]) -> Page:
    """One page, as the list takes it day by day."""
    page, days = Page(query), dict[str, list[Summary]]()
    for one in builds:
        days.setdefault(summary.day_of(one.created_at), []).append(one)
    for day in sorted(days, reverse=True):
        if query.since is not None and day < query.since[:10]:
            break
        if page.passes(day, len(days[day])):
            continue
        wanted = [Position(one.created_at, one.job_id) for one in days[day] if query.wants(one)]
        for at in sorted(wanted, reverse=True):
            page.take(at)
    return page


@given(
    SUMMARIES,
    st.sampled_from([None, "ann", "nobody"]),
    st.sampled_from([None, "FAILED"]),
    st.one_of(st.none(), st.integers(0, 100)),
    st.integers(1, 9),
)
def test_pages_hold_every_build_once(
    builds: list[Summary], owner: str | None, status: str | None, hours: int | None, limit: int
) -> None:
    since = None if hours is None else utc(BEGIN + timedelta(hours=hours))
    wanted = sorted(
        (
            Position(one.created_at, one.job_id)
            for one in builds
            if owner in (None, one.owner)
            and status in (None, one.status)
            and (since is None or one.created_at >= since)
        ),
        reverse=True,
    )
    by_cursor: list[Position] = []
    after: Position | None = None
    while True:
        page = read(Query(owner, status, None, since, after, 0, limit), builds)
        assert page.total == len(wanted)
        assert len(page.taken) <= limit
        by_cursor += page.taken
        if not page.more:
            break
        after = position(page.taken[-1].cursor())
    assert by_cursor == wanted
    for offset in range(0, len(wanted) + 2, limit):
        page = read(Query(owner, status, None, since, None, offset, limit), builds)
        assert page.taken == wanted[offset : offset + limit]
        assert page.total == len(wanted)
        assert page.more == (offset + limit < len(wanted))


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    try:
        found = position(text)
    except MalformedRequestError:
        return
    assert found.job_id


def test_a_build_that_begins_meanwhile_moves_nothing() -> None:
    old = [Summary(f"a.b.{n}", "FAILED", created_at=utc(BEGIN + timedelta(n))) for n in range(4)]
    first = read(Query(limit=2), old)
    new = [*old, Summary("a.b.9", "FAILED", created_at=utc(BEGIN + timedelta(9)))]
    second = read(Query(limit=2, after=first.taken[-1]), new)
    assert [one.job_id for one in (*first.taken, *second.taken)] == [
        f"a.b.{n}" for n in (3, 2, 1, 0)
    ]


@pytest.mark.parametrize(
    "other",
    [
        "https://Git.Example.com/team/app",
        "https://git.example.com/team/app.git/",
        "http://git.example.com/team/app/",
        "git@git.example.com:team/app.git",
        "ssh://git@git.example.com/team/app",
    ],
)
def test_a_repository_is_the_same_however_it_is_written(other: str) -> None:
    query = Query(repo_url="https://git.example.com/team/app.git")
    assert query.wants_request("x", other)
    assert not query.wants_request("x", "https://git.example.com/team/App")
    assert not query.wants_request("x", "")


@given(st.from_regex(r"(https|ssh)://[a-z.]{1,9}/[a-z/.]{1,9}", fullmatch=True))
def test_a_repository_is_its_own(url: str) -> None:
    assert same_repository(url) == same_repository(url + "/")


def test_a_summary_is_small_and_reads_back() -> None:
    build = Build(
        "default.image-build.1-a",
        "image-build/dispatch-1-a",
        Status.FAILED,
        submitted_at="2026-11-23T05:00:00.000Z",
        finished_at="2026-11-23T05:01:00.500Z",
        config={"owner": "ann", "repo_url": "https://git.example.com/team/app.git"},
        failure={"phase": "test", "reason": "TestFailed", "message": "it said: " + "x" * 5000},
        commit="0" * 40,
    )
    one = summary.of(build)
    assert len(summary.encode(one)) < 600
    assert summary.decode(one.job_id, summary.encode(one)) == one
    assert one.key == "nomad-build-service/index/2026-11-23/default.image-build.1-a"
    assert one.duration_seconds == 60.5
    later = summary.encode(one).replace(b'"schema":1', b'"schema":2,"new":[1]')
    assert summary.decode(one.job_id, later) == one


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 7776000),
        ("12h", 43200),
        ("1w2d", 777600),
        ("1d12h30m5s", 131405),
        (0, 0),
        ("60", 60),
    ],
)
def test_ages(text: str | int, seconds: int) -> None:
    assert age(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "7 days", "12h1d", -1, True, None, "9" * 30, "²"])
def test_what_is_no_age(text: object) -> None:
    with pytest.raises(FieldError):
        age(text)


def test_moments() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert moments.resolve("12h", now) == "2026-11-23T00:00:00.000Z"
    assert moments.resolve("2026-11-23T02:00:00+02:00", now) == "2026-11-23T00:00:00.000Z"
    for text in ("2026-11-23", "yesterday", "0001-01-01T00:00:00+14:00", "2026-11-23T00:00:00"):
        with pytest.raises(FieldError):
            moments.since(text)
