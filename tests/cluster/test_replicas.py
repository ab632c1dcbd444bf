"""A whole session over two replicas, each call to the other one, while one is killed and restarts.

The client does nothing clever: where a connection is refused or breaks, and only there, it asks the
other address. It must not be able to tell the replicas apart.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from builds import ENDED, Builds, eventually
from controllers import Serving, log_lines, serving, sse
from mcp_requests import LEGACY, MODERN, TASKS, Mcp

from cluster.cluster import Cluster

T = TypeVar("T")
LINES = 80
SAYS_LINES = f"RUN for i in $(seq {LINES}); do echo line-$i; sleep 0.1; done"
SPOKEN = [f"line-{number}" for number in range(1, LINES + 1)]
STAGES = ["PENDING", "BUILDING", "TESTING", "PUBLISHING", "FAILED"]
BROKEN = (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)


class Alternating:
    """Asks one replica and then the other; where a connection fails, the other at once."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._turns = itertools.count()
        self.broken = 0

    def ask(self, call: Callable[[str], T]) -> T:
        """The answer of whoever answers; there are two, so the second failure is an error."""
        turn = next(self._turns) % 2
        try:
            return call(self._addresses[turn])
        except BROKEN:
            self.broken += 1
            return call(self._addresses[1 - turn])

    def post(self, name: str, /, **document: Any) -> dict[str, Any]:
        """Call an operation."""

        def call(address: str) -> httpx.Response:
            return httpx.post(f"{address}/mcp/{name}", json=document, timeout=60)

        answer = self.ask(call)
        assert answer.status_code == 200, (name, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    def mcp(self, version: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of an MCP request."""
        capabilities = TASKS if method.startswith("tasks/") else {}
        return self.ask(lambda address: Mcp(address, version, capabilities).result(method, params))

    def tool(self, version: str, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool."""
        result = self.mcp(version, "tools/call", {"name": name, "arguments": arguments})
        assert not result.get("isError"), result
        found: dict[str, Any] = result["structuredContent"]
        return found


class Session:
    """What one agent sees of one build, in whichever way it looks."""

    def __init__(self, replicas: Alternating, job_id: str) -> None:
        self._replicas = replicas
        self._job_id = job_id
        self.begun = threading.Event()
        self.stages: list[str] = []

    def streamed(self) -> list[dict[str, Any]]:
        """The events of the stream, taken up after its last event each time it breaks."""
        events: list[dict[str, Any]] = []
        cursor: str | None = None

        def read(address: str) -> None:
            nonlocal cursor
            for event, at in sse(address, self._job_id, after=cursor):
                events.append(event)
                cursor = at
                if event.get("message") == "line-10":
                    self.begun.set()

        while not events or events[-1]["event"] != "end":
            self._replicas.ask(read)
        return events

    def waited(self) -> list[str]:
        """The new lines of each waitForJob, as REST and as a tool of both eras."""
        lines: list[str] = []
        answer: dict[str, Any] = {"final": False, "cursor": None}
        ways = itertools.cycle(
            [
                self._replicas.post,
                lambda *given, **more: self._replicas.tool(MODERN, *given, **more),
                lambda *given, **more: self._replicas.tool(LEGACY, *given, **more),
            ]
        )
        while not answer["final"]:
            asked = {"job_id": self._job_id, "after": answer["cursor"], "timeout": 1, "lines": 200}
            answer = next(ways)("waitForJob", **asked)
            assert not answer["lines_left_out"]
            lines += answer["lines"]
        return lines

    def paged(self) -> dict[str, list[str]]:
        """The log by small pages from its beginning."""
        logs: dict[str, list[str]] = {}
        asked: dict[str, Any] = {"from_start": True}
        while True:
            page = self._replicas.post("getLogs", job_id=self._job_id, max_tokens=200, **asked)
            for phase, lines in page["logs"].items():
                logs.setdefault(phase, []).extend(lines or [])
            if page["cursor"]:
                asked = {"after": page["cursor"]}
            if page["status"] in ENDED and not page["more"]:
                return logs

    def looked(self) -> None:
        """getStatus and tasks/get again and again, until the end."""
        while not self.stages or self.stages[-1] not in ENDED:
            self.stages.append(self._replicas.post("getStatus", job_id=self._job_id)["status"])
            self.stages.append(
                self._replicas.tool(LEGACY, "getStatus", job_id=self._job_id)["status"]
            )
            task = self._replicas.mcp(MODERN, "tasks/get", {"taskId": self._job_id})
            assert task["taskId"] == self._job_id
            assert task["status"] in ("working", "completed")


@pytest.mark.slow
def test_nobody_can_tell_the_replicas_apart(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    request = builds.request(
        builds.dockerfile(SAYS_LINES), idempotency_key="once", test_commands=["echo no; exit 7"]
    )
    with ExitStack() as stack:
        first, second = (stack.enter_context(serving(cluster, tmp_path)) for _ in range(2))
        replicas = Alternating([first.address, second.address])
        job_id = submit_in_every_way(replicas, request)
        session = Session(replicas, job_id)
        with ThreadPoolExecutor(4) as pool:
            streamed, waited = pool.submit(session.streamed), pool.submit(session.waited)
            paged, looked = pool.submit(session.paged), pool.submit(session.looked)
            eventually(
                "the build says something", lambda: session.begun.is_set() or streamed.done()
            )
            first.stop(signal.SIGKILL)
            port = {"NBS_PORT": first.address.rpartition(":")[2]}
            again = stack.enter_context(serving(cluster, tmp_path, port))
            still_running = replicas.post("getStatus", job_id=job_id)["status"] == "BUILDING"
            events, lines, logs = streamed.result(), waited.result(), paged.result()
            looked.result()
        assert still_running, "the build ended before the replica was back: make it longer"
        assert replicas.broken > 0
        assert_same_story(session, events, lines, logs)
        metrics = [metrics_of(cluster), again.metrics_address, second.metrics_address]
        eventually("the end is counted", lambda: ended(metrics, request["owner"]))
        assert_same_answers([again, second, builds.address], request["owner"], job_id)
        assert ended(metrics, request["owner"]) == 1
        assert [one for one in (first, again, second) if "Traceback" in one.log] == []


def submit_in_every_way(replicas: Alternating, request: dict[str, Any]) -> str:
    """One key, one build, wherever and however it is submitted again."""
    submitted = replicas.post("submitJob", **request)
    assert submitted["created"]
    again = [
        replicas.post("submitJob", **request),
        replicas.post("submitJob", job_config=request),
        *(replicas.tool(MODERN, "submitJob", **request) for _ in range(2)),
        *(replicas.tool(LEGACY, "submitJob", **request) for _ in range(2)),
    ]
    assert {one["job_id"] for one in again} == {submitted["job_id"]}
    assert not any(one["created"] for one in again)
    job_id: str = submitted["job_id"]
    return job_id


def assert_same_story(
    session: Session, events: list[dict[str, Any]], lines: list[str], logs: dict[str, list[str]]
) -> None:
    """Every line once and in order, however it was read, and no status after a later one."""
    told = log_lines(events)
    assert [text for phase, text in told if phase == "build" and text in SPOKEN] == SPOKEN
    assert not [event for event in events if event["event"] == "missed"]
    assert events[-1]["status"] == "FAILED"
    assert events[-1]["failure"]["reason"] == "TestFailed"
    assert [f"[{phase}] {text}" for phase, text in told] == lines
    assert {phase: [text for of, text in told if of == phase] for phase in logs} == logs
    seen = [STAGES.index(status) for status in session.stages]
    assert seen == sorted(seen)


def assert_same_answers(replicas: list[Serving | str], owner: str, job_id: str) -> None:
    """Each replica says the same of the ended build, and has it once."""
    addresses = [one if isinstance(one, str) else one.address for one in replicas]
    for name, document in [
        ("getStatus", {"job_id": job_id}),
        ("getFailure", {"job_id": job_id}),
        ("getLogs", {"job_id": job_id}),
        ("getHistory", {"owner": owner}),
    ]:
        answers = list(answers_of(addresses, name, document))
        assert answers[0] == answers[1] == answers[2], name
    assert answers[0]["total"] == 1
    assert [job["job_id"] for job in answers[0]["jobs"]] == [job_id]


def answers_of(
    addresses: list[str], name: str, document: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for address in addresses:
        answer = httpx.post(f"{address}/mcp/{name}", json=document, timeout=30)
        assert answer.status_code == 200, answer.text
        yield answer.json()


def metrics_of(cluster: Cluster) -> str:
    """Where the deployed controller's metrics are: it is a third replica."""
    service = "nomad-build-service-metrics"
    found = httpx.get(
        f"{cluster.consul.address}/v1/health/service/{service}?passing=true",
        headers=cluster.consul.headers,
    ).json()
    where = found[-1]["Service"]
    return f"http://{where['Address'] or '127.0.0.1'}:{where['Port']}"


def ended(metrics: list[str], owner: str) -> float:
    """How many ended builds of an owner were counted, over all replicas."""
    return sum(
        float(line.rpartition(" ")[2])
        for address in metrics
        for line in httpx.get(f"{address}/metrics").text.splitlines()
        if line.startswith("builds_ended_total{") and f'owner="{owner}"' in line
    )
