"""Live logs: every line once and in order, however many watch, whatever restarts."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from builds import Builds, eventually
from controllers import Serving, log_lines, serving, sse
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cluster.cluster import Cluster

COUNT = "RUN for i in $(seq {n}); do echo line-$i; sleep {pause}; done"


@pytest.fixture
def served(cluster: Cluster, controller_address: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(cluster, tmp_path) as one:
        yield one


def websocket(address: str, job_id: str, after: str = "") -> str:
    return f"{address.replace('http', 'ws')}/mcp/streamLogs?job_id={job_id}&after={after}"


def all_lines(builds: Builds, job_id: str) -> list[tuple[str, str]]:
    logs = builds.logs(job_id)
    return [(phase, line) for phase, lines in logs.items() for line in lines or []]


def slow_build(builds: Builds, n: int = 20, pause: float = 0.1) -> str:
    repository = builds.dockerfile(COUNT.format(n=n, pause=pause))
    return builds.submit(builds.request(repository, test_commands=["echo tested"]))


def test_websocket_and_sse_tell_the_same_and_all(builds: Builds, served: Serving) -> None:
    job_id = slow_build(builds)
    by_socket: list[dict] = []

    def watch() -> None:
        with connect(websocket(served.address, job_id)) as socket:
            by_socket.extend(json.loads(message) for message in socket)

    thread = threading.Thread(target=watch)
    thread.start()
    by_sse = [event for event, _ in sse(served.address, job_id)]
    thread.join(30)
    lines = all_lines(builds, job_id)
    assert [text for _, text in lines if text.startswith("line-")] == [
        f"line-{number}" for number in range(1, 21)
    ]
    assert log_lines(by_sse) == lines
    assert log_lines(by_socket) == lines
    for events in (by_sse, by_socket):
        assert events[-1]["event"] == "end"
        assert events[-1]["status"] == "SUCCEEDED"
        assert events[-1]["digest"].startswith("sha256:")
        ended = [
            (event["phase"], event["phase_status"])
            for event in events
            if event["event"] == "phase" and event["phase_status"] != "running"
        ]
        assert ended == [(phase, "succeeded") for phase in ("build", "test", "publish")]
        assert all(
            {"job_id", "phase", "timestamp", "level", "message"} <= event.keys() for event in events
        )


def test_lines_arrive_while_they_are_written(builds: Builds, served: Serving) -> None:
    job_id = slow_build(builds, n=10, pause=0.3)
    delays = []
    for event, _ in sse(served.address, job_id):
        if event["event"] == "log" and event["message"].startswith("line-"):
            written = datetime.fromisoformat(event["timestamp"])
            delays.append((datetime.now(UTC) - written).total_seconds())
    assert len(delays) == 10
    assert sorted(delays)[8] < 1.5, delays


@pytest.mark.parametrize("framing", ["sse", "websocket"])
def test_a_reader_that_comes_and_goes_gets_every_line_once(
    builds: Builds, served: Serving, framing: str
) -> None:
    job_id = slow_build(builds, n=30, pause=0.05)
    events: list[dict] = []
    cursor = ""
    while not events or events[-1]["event"] != "end":
        taken = 0
        if framing == "sse":
            for event, seen in sse(served.address, job_id, cursor or None):
                events.append(event)
                cursor = seen
                taken += event["event"] == "log"
                if taken == 4:
                    break
        else:
            with connect(websocket(served.address, job_id, cursor)) as socket:
                for message in socket:
                    events.append(json.loads(message))
                    cursor = events[-1].get("cursor") or cursor
                    taken += events[-1]["event"] == "log"
                    if taken == 4:
                        break
    assert log_lines(events) == all_lines(builds, job_id)


def test_a_killed_controller_costs_no_line(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    job_id = slow_build(builds, n=30, pause=0.1)
    events: list[dict] = []
    cursor = ""
    with serving(cluster, tmp_path) as first:
        try:
            for event, seen in sse(first.address, job_id):
                events.append(event)
                cursor = seen
                if len(log_lines(events)) == 12:
                    first.stop(signal.SIGKILL)
        except Exception as error:
            assert "closed" in str(error) or "disconnect" in str(error).lower(), error
    with serving(cluster, tmp_path) as second:
        events += [event for event, _ in sse(second.address, job_id, cursor)]
    assert events[-1]["status"] == "SUCCEEDED"
    assert log_lines(events) == all_lines(builds, job_id)


def test_many_watchers_are_one_follow_and_leave_nothing(builds: Builds, served: Serving) -> None:
    job_id = slow_build(builds, n=40, pause=0.1)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(connect(websocket(served.address, job_id))) for _ in range(20)
        ]
        for one in sockets:
            while json.loads(one.recv(timeout=30)).get("message") != "line-3":
                pass
        assert served.metric("log_stream_watchers") == 20
        assert served.metric("log_upstream_follows") == 1
    eventually("no watcher is left", lambda: served.metric("log_stream_watchers") == 0)
    eventually("no follow is left", lambda: served.metric("log_upstream_follows") == 0)
    builds.await_status(job_id, "SUCCEEDED")


def test_an_event_source_that_leaves_is_forgotten(builds: Builds, served: Serving) -> None:
    job_id = slow_build(builds, n=40, pause=0.1)
    url = f"{served.address}/mcp/streamLogs?job_id={job_id}"
    assert httpx.head(url).status_code == 200
    for _ in range(5):
        with httpx.stream("GET", url) as response:
            lines = response.iter_lines()
            assert (response.status_code, next(lines)) == (200, "retry: 1000")
            assert served.metric("log_stream_watchers") >= 1, (list(lines), served.log)
    eventually("no watcher is left", lambda: served.metric("log_stream_watchers") == 0)
    eventually("no follow is left", lambda: served.metric("log_upstream_follows") == 0)
    builds.await_status(job_id, "SUCCEEDED")


def test_a_reader_that_stops_reading_holds_up_nobody(
    builds: Builds, cluster: Cluster, tmp_path: Path
) -> None:
    """20 MB of log: one reader takes nothing, memory stays bounded, another gets every line."""
    line = "x" * 500
    repository = builds.dockerfile(f"RUN yes {line} | head -n 40000; echo done-writing")
    job_id = builds.submit(builds.request(repository))
    with serving(cluster, tmp_path, {"NBS_STREAM_BUFFER": "262144"}) as served:
        before = served.rss()
        host, port = served.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asked = f"GET /mcp/streamLogs?job_id={job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            stuck.sendall(asked.encode())
            events = [event for event, _ in sse(served.address, job_id)]
            grown = served.rss() - before
    lines = [text for phase, text in log_lines(events) if phase == "build"]
    missed = sum(event["missed"] or 0 for event in events if event["event"] == "missed")
    assert lines.count(line) + missed == 40000, str(events[-1])[:500]
    assert "done-writing" in lines
    assert grown < 40 << 20, f"memory grew by {grown >> 20} MiB"


def test_sigterm_ends_streams_at_once(builds: Builds, cluster: Cluster, tmp_path: Path) -> None:
    job_id = slow_build(builds, n=40, pause=0.1)
    with (
        serving(cluster, tmp_path) as served,
        connect(websocket(served.address, job_id)) as by_socket,
    ):
        events = sse(served.address, job_id)
        next(events)
        by_socket.recv(timeout=10)
        assert served.stop(signal.SIGTERM) < 2.0
        assert [event["event"] for event, _ in events].count("end") == 0
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                by_socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert served.process.returncode == 0
    builds.await_status(job_id, "SUCCEEDED")


def test_an_unknown_build_is_an_error_not_a_stream(served: Serving) -> None:
    answer = httpx.get(f"{served.address}/mcp/streamLogs?job_id=default.image-build.1-deadbeef")
    assert answer.status_code == 404
    assert answer.json()["name"] == "unknown_job"
    assert httpx.get(f"{served.address}/mcp/streamLogs").status_code == 422
    with pytest.raises(InvalidStatus) as refused:
        connect(websocket(served.address, "default.image-build.1-deadbeef"))
    assert refused.value.response.status_code == 404
    answer = httpx.get(f"{served.address}/mcp/streamLogs?job_id=x&after=bad")
    assert answer.status_code == 400


def test_a_stream_of_an_ended_build_is_whole(builds: Builds, served: Serving) -> None:
    job_id = slow_build(builds, n=3, pause=0)
    builds.await_status(job_id, "SUCCEEDED")
    begun = time.monotonic()
    events = [event for event, _ in sse(served.address, job_id)]
    assert time.monotonic() - begun < 2
    assert log_lines(events) == all_lines(builds, job_id)
    assert events[-1]["event"] == "end"
