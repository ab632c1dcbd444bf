"""The list of builds, on real servers: filters, pages, old records, speed, and two replicas."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, serving

from cluster.cluster import Cluster
from controller.clients.consul import ConsulClient
from controller.contract.log_line import utc
from controller.history import summary
from controller.history.records import PREFIX, History, Record, encode
from controller.settings import load
from controller.status.build import Build, PhaseView, Status
from controller.webhooks import marks

MANY = 1000


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(cluster, tmp_path) as one:
        yield one


def listed(served: Serving, **request: Any) -> dict[str, Any]:
    answer = served.post("getHistory", request)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(page: Mapping[str, Any]) -> list[str]:
    return [job["job_id"] for job in page["jobs"]]


def recorded(builds: Builds, job_id: str) -> None:
    """Wait until the list has a build from the history, not from Nomad."""
    consul = builds.cluster.consul
    eventually(
        f"{job_id} is recorded",
        lambda: (
            httpx.get(
                f"{consul.address}/v1/kv/{PREFIX}{job_id}", headers=consul.headers
            ).status_code
            == 200
        ),
    )


def test_running_and_ended_builds_are_in_one_list(builds: Builds, served: Serving) -> None:
    """An agent that lost a job_id finds it by owner or repository, running or ended."""
    repository = builds.dockerfile("RUN echo hello")
    request = builds.request(repository)
    owner = request["owner"]
    good = builds.submit(request)
    builds.await_status(good, "SUCCEEDED")
    bad = builds.submit(request | {"test_commands": ["exit 3"], "image_tags": ["v2"]})
    builds.await_status(bad, "FAILED")
    slow = builds.submit(builds.request(builds.dockerfile("RUN echo begun; sleep 60"), owner=owner))
    builds.await_log(slow, "begun")
    builds.await_status(slow, "BUILDING")  # Nomad tells it seconds later
    recorded(builds, bad)

    page = listed(served, owner=owner)
    assert ids(page) == [slow, bad, good]
    assert page["total"] == 3
    assert page["next"] is None
    running, failed, succeeded = page["jobs"]
    assert (running["status"], running["finished_at"]) == ("BUILDING", None)
    assert running["config"]["owner"] == owner
    assert failed["status"] == "FAILED"
    assert (failed["phase"], failed["reason"]) == ("test", "TestFailed")
    assert succeeded["id"] == good
    assert succeeded["duration"] == succeeded["metrics"]["total_duration"]
    assert succeeded["metrics"]["build_duration"] > 0
    assert succeeded["digest"].startswith("sha256:")

    url = request["repo_url"].removesuffix(".git")
    assert ids(listed(served, repo_url=url)) == [bad, good]
    assert ids(listed(served, owner=owner, status="FAILED")) == [bad]
    assert ids(listed(served, owner=owner, status="BUILDING")) == [slow]
    assert ids(listed(served, owner=owner, status="SUCCEEDED", since="1h")) == [good]
    assert ids(listed(served, owner=owner, since=failed["created_at"])) == [slow, bad]
    # The original filtered by owner after it had cut the page.
    page = listed(served, owner=owner, limit=1)
    assert (ids(page), page["total"]) == ([slow], 3)
    assert ids(listed(served, owner=owner, limit=1, offset=2)) == [good]

    brief = listed(served, owner=owner, detail="summary")
    assert ids(brief) == [slow, bad, good]
    assert all("config" not in job and "metrics" not in job for job in brief["jobs"])
    builds.http.post("/mcp/killJob", json={"job_id": slow})
    builds.await_status(slow, "CANCELLED")
    assert ids(listed(served, owner=owner, status="CANCELLED")) == [slow]


def test_a_build_is_listed_all_the_while(
    builds: Builds, cluster: Cluster, served: Serving, tmp_path: Path
) -> None:
    """Queued, running, ended, recorded, forgotten by Nomad: on each replica exactly once."""
    request = builds.request(builds.dockerfile("RUN sleep 1"))
    seen: list[str] = []
    with serving(cluster, tmp_path) as other:
        job_id = builds.submit(request)

        def look() -> bool:
            for one in (served, other):
                page = listed(one, owner=request["owner"], detail="summary")
                assert (ids(page), page["total"]) == ([job_id], 1)
                seen.append(page["jobs"][0]["status"])
            url = f"{cluster.consul.address}/v1/kv/{PREFIX}{job_id}"
            return httpx.get(url, headers=cluster.consul.headers).status_code == 200

        eventually("it is recorded", look, interval=0)
        builds.nomad.delete(
            f"/v1/job/{nomad_job_id(job_id).replace('/', '%2F')}?purge=true"
        ).raise_for_status()
        assert look()
    assert len(seen) > 10
    assert seen[-2:] == ["SUCCEEDED"] * 2


def test_a_record_as_large_as_may_be(cluster: Cluster) -> None:
    """It goes into one transaction with its summary; what is too much is left out."""
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    build, _ = synthetic(owner, 4, datetime.now(UTC))
    tails = {
        phase: [f"{phase} {n} " + "x" * 90 for n in range(9000)] for phase in ("build", "test")
    }

    async def write_and_read() -> Record | None:
        consul = ConsulClient(load(cluster.env(), {}))
        history = History(consul)
        try:
            assert await history.add(build, tails)
            assert not await history.add(build, tails)
            found = await history.get(build.job_id)
            assert await history.remove(build.job_id, summary.day_of(build.submitted_at or ""))
            assert not await history.add(build, tails)
            return found
        finally:
            await consul.close()

    found = asyncio.run(write_and_read())
    assert found is not None
    assert found.build == build
    assert found.tails["build"][-1] == tails["build"][-1]
    assert 100_000 < len(str(found.tails)) < 400_000


def test_the_largest_webhook_leaves_room_for_itself(cluster: Cluster) -> None:
    """Its mark is in the record's transaction; a build without a record would be tried for ever."""
    request = {
        "webhook_url": "https://hooks.example.com/".ljust(2048, "x"),
        "webhook_secret": "secret/nomad-build-service/webhook/".ljust(512, "x"),
        "webhook_headers": {f"X-{n:02d}".ljust(128, "a"): '"' * 1024 for n in range(16)},
    }
    mark = marks.mark_of(request, time.time())
    owner = f"owner-{uuid.uuid4().hex[:8]}"

    async def write(lines: int) -> bool:
        consul = ConsulClient(load(cluster.env(), {}))
        history = History(consul)
        build, _ = synthetic(owner, 4, datetime.now(UTC))
        step = marks.creation(build.job_id, mark)
        try:
            assert await history.add(build, {"build": ["x" * 97] * lines}, step)
            found = await history.get(build.job_id)
            await history.remove(build.job_id, summary.day_of(build.submitted_at or ""))
            return found is not None
        finally:
            await consul.close()

    for lines in range(3300, 3800, 50):  # around what fits: one of them nearly fills it
        assert asyncio.run(write(lines)), lines


def test_wrong_requests_are_named(served: Serving) -> None:
    """The original ended in a panic at a negative limit."""
    for request, field in (
        ({"limit": -1}, "limit"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"offset": -1}, "offset"),
        ({"status": "DONE"}, "status"),
        ({"since": "yesterday"}, "since"),
        ({"repo_url": "not a url"}, "repo_url"),
        ({"offset": 1, "after": "eA"}, "offset"),
    ):
        answer = served.post("getHistory", request)
        assert answer.status_code == 422, answer.text
        assert field in answer.text
    assert served.post("getHistory", {"after": "nonsense"}).status_code == 400


def synthetic(owner: str, number: int, when: datetime, tail: int = 100) -> tuple[Build, bytes]:
    """A record as a real build leaves it, `number` minutes before `when`."""
    begun = when - timedelta(minutes=number)
    build = Build(
        f"default.image-build.{int(begun.timestamp())}-{uuid.uuid4().hex[:8]}",
        f"image-build/dispatch-{int(begun.timestamp())}-00000000",
        Status.FAILED if number % 4 == 0 else Status.SUCCEEDED,
        submitted_at=utc(begun),
        finished_at=utc(begun + timedelta(seconds=90)),
        config={"owner": owner, "repo_url": f"https://git.example.com/team/app-{number % 7}.git"},
        phases={
            phase: PhaseView("succeeded", utc(begun), utc(begun), 30.0)
            for phase in ("build", "test", "publish")
        },
        commit="0" * 40,
        image="registry.example.com/team/app",
        digest="sha256:" + "0" * 64,
        failure=(
            {"phase": "build", "reason": "RunFailed", "message": "the command failed " + "x" * 400}
            if number % 4 == 0
            else None
        ),
    )
    return build, encode(build, {"build": ["x" * 99] * (tail // 100)})


def write(cluster: Cluster, items: list[tuple[str, bytes]]) -> None:
    """Store keys as fast as Consul takes them."""
    for begin in range(0, len(items), 20):
        steps = [
            {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()}}
            for key, value in items[begin : begin + 20]
        ]
        answer = httpx.put(
            f"{cluster.consul.address}/v1/txn",
            headers=cluster.consul.headers,
            json=steps,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text


def remove(cluster: Cluster, keys: list[str]) -> None:
    """Remove keys, 64 in each of Consul's transactions."""
    for batch in range(0, len(keys), 64):
        steps = [{"KV": {"Verb": "delete", "Key": key}} for key in keys[batch : batch + 64]]
        httpx.put(
            f"{cluster.consul.address}/v1/txn",
            json=steps,
            headers=cluster.consul.headers,
            timeout=30,
        ).raise_for_status()


@pytest.fixture
def many(cluster: Cluster) -> Iterator[tuple[str, list[Build]]]:
    """A thousand ended builds of one owner over a week, newest first; gone afterwards."""
    owner, now = f"owner-{uuid.uuid4().hex[:8]}", datetime.now(UTC) - timedelta(minutes=5)
    made = [synthetic(owner, number * 10, now, tail=8000) for number in range(MANY)]
    items = [(PREFIX + build.job_id, raw) for build, raw in made]
    for build, _ in made:
        one = summary.of(build)
        items.append((one.key, summary.encode(one)))
    write(cluster, items)
    yield owner, [build for build, _ in made]
    remove(cluster, [key for key, _ in items])


@pytest.mark.slow
def test_pages_over_a_thousand_builds(
    cluster: Cluster, many: tuple[str, list[Build]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    owner, builds = many
    expected = [build.job_id for build in builds]
    with serving(cluster, tmp_path) as served, serving(cluster, tmp_path) as other:
        took = {}

        def timed(what: str, **request: Any) -> dict[str, Any]:
            begun = time.perf_counter()
            page = listed(served, **request)
            took[what] = round((time.perf_counter() - begun) * 1000, 1)
            return page

        first = timed("first page of 20, nothing read before", limit=20, detail="summary")
        assert first["total"] >= MANY
        timed("the same again", limit=20, detail="summary")
        page = timed("by owner, every partition read", owner=owner, limit=20, detail="summary")
        assert (ids(page), page["total"]) == (expected[:20], MANY)
        timed("the same again, from memory", owner=owner, limit=20, detail="summary")
        timed("full page of 50", owner=owner, limit=50)
        found, after = [], None
        begun = time.perf_counter()
        while True:
            request = {"owner": owner, "limit": 200, "detail": "summary"}
            one = other if len(found) % 400 else served  # the cursor is good on any replica
            page = listed(one, **request, **({"after": after} if after else {}))
            assert page["total"] == MANY
            found += ids(page)
            if (after := page["next"]) is None:
                break
        took["all, in pages of 200"] = round((time.perf_counter() - begun) * 1000, 1)
        assert found == expected
        assert listed(served, owner=owner, status="FAILED", limit=1)["total"] == MANY / 2
        with capsys.disabled():
            print(f"\ngetHistory over {MANY} records, ms: {json.dumps(took, indent=1)}")
        assert took["the same again, from memory"] < 2000

        # An agent's answer stays within its context, whatever is in it.
        tokens = {"owner": owner, "detail": "summary", "limit": 200, "max_tokens": 5000}
        page = listed(served, **tokens)
        assert len(json.dumps(page, ensure_ascii=False)) < 16_000
        assert ids(page) == expected[: len(page["jobs"])]
        following = listed(served, **tokens, after=page["next"])
        assert ids(following)[0] == expected[len(page["jobs"])]


def test_records_of_earlier_versions_are_listed(cluster: Cluster, tmp_path: Path) -> None:
    """Their records have no summary, and may be larger than a transaction carries."""
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    build, raw = synthetic(owner, 1, datetime.now(UTC) - timedelta(days=3), tail=500_000)
    big = json.loads(raw)
    big["log_tail"] = {"build": ["x" * 99] * 4_900}
    key = f"{cluster.consul.address}/v1/kv/{PREFIX}{build.job_id}"
    httpx.put(
        key, content=json.dumps(big).encode(), headers=cluster.consul.headers
    ).raise_for_status()
    try:
        with serving(cluster, tmp_path) as served:
            page = eventually(
                "it is listed", lambda: (p := listed(served, owner=owner))["jobs"] and p
            )
            assert ids(page) == [build.job_id]
            assert page["jobs"][0]["config"]["owner"] == owner
    finally:
        httpx.delete(key, headers=cluster.consul.headers).raise_for_status()
        httpx.delete(
            f"{cluster.consul.address}/v1/kv/{summary.of(build).key}",
            headers=cluster.consul.headers,
        )


def test_another_deployments_builds_are_not_listed(cluster: Cluster, served: Serving) -> None:
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    build, _ = synthetic(owner, 1, datetime.now(UTC))
    one = summary.of(build)
    foreign = one.key.replace("default.image-build.", "default.other-image-build.")
    write(cluster, [(foreign, summary.encode(one))])
    try:
        assert listed(served, owner=owner)["total"] == 0
    finally:
        httpx.delete(f"{cluster.consul.address}/v1/kv/{foreign}", headers=cluster.consul.headers)
