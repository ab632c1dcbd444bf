"""Webhooks of real builds, received by a real server.

The deployed controller and, where a test needs one, others: whoever records a build's end first,
its webhook may be delivered by any of them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, cli, eventually, nomad_job_id
from controllers import serving
from receiver import Call, Receiver, receiving

from cluster.cluster import Cluster

KEY = f"key-{uuid.uuid4().hex}"
SECRET = "nomad-build-service/webhook/demo"
PATH = f"secret/{SECRET}"
ALLOWED = "127.0.0.2"  # the only address that the controllers here allow; not localhost
CONFIG = {"webhook_allow": f"{ALLOWED}/32", "webhook_window": "8"}


@pytest.fixture(scope="module", autouse=True)
def allowed(cluster: Cluster, controller_address: str) -> Iterator[None]:
    """The deployed controller lets webhooks reach one loopback address, and is not patient."""
    cluster.vault_put(SECRET, {"secret": KEY})
    for name, value in CONFIG.items():
        consul(cluster, "PUT", f"config/{name}", content=value).raise_for_status()
    cluster.pack.deploy(force=True)
    yield
    for name in CONFIG:
        consul(cluster, "DELETE", f"config/{name}").raise_for_status()
    cluster.pack.deploy(force=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(ALLOWED) as one:
        yield one


def consul(cluster: Cluster, method: str, key: str, **kwargs: Any) -> httpx.Response:
    return httpx.request(
        method,
        f"{cluster.consul.address}/v1/kv/nomad-build-service/{key}",
        headers={"X-Consul-Token": cluster.env().get("CONSUL_HTTP_TOKEN", "")},
        **kwargs,
    )


def one_call(receiver: Receiver, job_id: str, calls: int = 1, seconds: float = 60) -> Call:
    """The last of so many calls about a build."""
    eventually(f"{calls} calls", lambda: len(receiver.of(job_id)) >= calls, seconds)
    return receiver.of(job_id)[-1]


def webhook(builds: Builds, job_id: str, state: str, seconds: float = 30) -> dict[str, Any]:
    """The webhook in getStatus once it is in a state."""

    def look() -> dict[str, Any] | None:
        found = builds.status(job_id)["webhook"]
        return found if found and found["state"] == state else None

    return eventually(f"the webhook is {state}", look, seconds)


def marks(cluster: Cluster, job_id: str) -> int:
    return consul(cluster, "GET", f"webhooks/{job_id}").status_code


def test_a_success_is_told_once_signed_and_without_the_key_anywhere(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    request = builds.request(
        builds.dockerfile("RUN echo built-it"),
        webhook_url=f"{receiver.address}/hook?token=in-the-query",
        webhook_secret=PATH,
        webhook_headers={"X-Team": "blue-team"},
        test_commands=["true"],
    )
    job_id = builds.submit(request)
    status = builds.await_status(job_id, "SUCCEEDED")
    call = one_call(receiver, job_id)
    assert call.is_signed(KEY)
    assert (call.method, call.path) == ("POST", "/hook?token=in-the-query")
    assert call.headers["x-team"] == "blue-team"
    assert call.headers["host"] == receiver.address.removeprefix("http://")
    assert call.headers["content-type"] == "application/json"
    assert abs(int(call.headers["x-webhook-timestamp"]) - time.time()) < 60
    body = call.document
    assert (body["event"], body["status"]) == ("job.completed", "SUCCEEDED")
    for name in ("owner", "repo_url", "git_ref", "image_name", "image_tags"):
        assert body[name] == request[name]
    for name in ("digest", "image", "commit", "metrics"):
        assert body[name] == status[name]
    assert body["duration"] == status["metrics"]["total_duration"]
    assert body["failure"] is None
    assert any("built-it" in line for line in body["logs"]["build"])

    assert webhook(builds, job_id, "delivered")["tries"] == 1
    assert marks(cluster, job_id) == 404
    assert len(receiver.of(job_id)) == 1

    status = builds.status(job_id)
    assert status["config"]["webhook_headers"] == {"X-Team": "(hidden)"}
    assert status["config"]["webhook_url"] == f"{receiver.address}/(hidden)"
    record = consul(cluster, "GET", f"history/{job_id}", params={"raw": ""}).text
    assert job_id in record
    allocation = cli(cluster, "nomad", "job", "status", "-json", "nomad-build-service").stdout
    said = {
        "status": json.dumps(status),
        "history": record,
        "list": builds.http.post("/mcp/getHistory", json={"limit": 5, "full": True}).text,
        "job": json.dumps(builds.job(nomad_job_id(job_id))),
        "build log": builds.text(job_id),
        "controller's log": controller_log(builds),
        "controller's job": allocation,
    }
    assert "Webhook delivered successfully" in said["controller's log"]
    assert [name for name, text in said.items() if KEY in text] == []
    hidden = {name: text for name, text in said.items() if name != "job"}
    assert [name for name, text in hidden.items() if "in-the-query" in text] == []
    assert [name for name, text in hidden.items() if "blue-team" in text] == []


def test_a_failure_a_kill_and_what_was_not_asked_for(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    repository = builds.dockerfile("RUN echo why-it-failed && false")
    slow = builds.dockerfile("RUN sleep 300")
    hook = {"webhook_url": receiver.address}
    failing = builds.submit(builds.request(repository, **hook, webhook_on_success=False))
    silent = builds.submit(builds.request(repository, **hook, webhook_on_failure=False))
    killed = builds.submit(builds.request(slow, **hook))
    builds.await_status(killed, "BUILDING")
    assert builds.status(killed)["webhook"] == {"state": "pending", "tries": 0, "last_error": ""}
    builds.http.post("/mcp/killJob", json={"job_id": killed}).raise_for_status()

    status = builds.await_status(failing, "FAILED")
    body = one_call(receiver, failing).document
    assert (body["event"], body["status"], body["phase"]) == ("job.failed", "FAILED", "build")
    assert body["error"] == status["error"]
    assert body["failure"]["reason"] == status["failure"]["reason"]
    assert any("why-it-failed" in line for line in body["logs"]["build"])
    assert "x-webhook-signature" not in receiver.of(failing)[0].headers

    body = one_call(receiver, killed).document
    assert (body["event"], body["status"]) == ("job.cancelled", "CANCELLED")

    assert builds.await_status(silent, "FAILED")["webhook"] is None
    recorded = eventually(
        "the record", lambda: consul(cluster, "GET", f"history/{silent}").status_code == 200
    )
    assert recorded
    assert marks(cluster, silent) == 404
    assert receiver.of(silent) == []


def test_two_errors_then_success(builds: Builds, receiver: Receiver) -> None:
    receiver.answers += [(500, {}), (503, {"Retry-After": "2"})]
    repository = builds.dockerfile("RUN false")
    job_id = builds.submit(
        builds.request(repository, webhook_url=receiver.address, webhook_secret=PATH)
    )
    one_call(receiver, job_id, 3)
    first, second, third = receiver.of(job_id)
    assert first.body == second.body == third.body
    assert len({call.headers["x-webhook-id"] for call in (first, second, third)}) == 1
    assert third.is_signed(KEY)
    waited = int(third.headers["x-webhook-timestamp"]) - int(second.headers["x-webhook-timestamp"])
    assert waited >= 1  # two seconds were asked for; the header has whole ones
    found = webhook(builds, job_id, "delivered")
    assert found["tries"] == 3
    assert "answered 503" in found["last_error"]


@pytest.mark.slow
def test_what_will_not_be_taken_is_given_up(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    """A refusal at once, errors after four tries; the build's result stays what it is."""
    repository = builds.dockerfile("RUN false")
    receiver.answers.append((410, {}))
    refused = builds.submit(builds.request(repository, webhook_url=receiver.address))
    found = webhook(builds, refused, "failed", 60)
    assert (found["tries"], "answered 410" in found["last_error"]) == (1, True)
    receiver.answers += [(500, {})] * 9
    errors = builds.submit(builds.request(repository, webhook_url=receiver.address))
    found = webhook(builds, errors, "failed", 60)
    assert (found["tries"], len(receiver.of(errors))) == (4, 4)
    assert marks(cluster, errors) == marks(cluster, refused) == 404
    assert builds.status(errors)["status"] == "FAILED"


@pytest.mark.slow
def test_a_receiver_that_comes_back(builds: Builds) -> None:
    with receiving(ALLOWED) as gone:
        port = int(gone.address.rpartition(":")[2])
    job_id = builds.submit(
        builds.request(builds.dockerfile("RUN false"), webhook_url=f"http://{ALLOWED}:{port}/")
    )
    eventually("a try", lambda: builds.status(job_id)["webhook"]["tries"] >= 1, 60)
    assert "no connection" in builds.status(job_id)["webhook"]["last_error"]
    with receiving(ALLOWED, port) as back:
        assert one_call(back, job_id, seconds=60).document["event"] == "job.failed"
        assert webhook(builds, job_id, "delivered")["tries"] > 1


@pytest.mark.slow
def test_a_controller_killed_in_the_middle_loses_nothing(
    builds: Builds, cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    """All controllers die while the receiver has not answered; one that starts later delivers."""
    receiver.hold = threading.Event()
    job_id = builds.submit(
        builds.request(
            builds.dockerfile("RUN false"), webhook_url=receiver.address, webhook_secret=PATH
        )
    )
    first = one_call(receiver, job_id)
    os.kill(controller_pid(builds), signal.SIGKILL)
    assert marks(cluster, job_id) == 200
    receiver.hold.set()
    receiver.hold = None
    settings = {f"NBS_{name.upper()}": value for name, value in CONFIG.items()}
    with serving(cluster, tmp_path, settings):
        second = one_call(receiver, job_id, 2, seconds=90)
        assert second.headers["x-webhook-id"] == first.headers["x-webhook-id"]
        assert second.body == first.body
        assert second.is_signed(KEY)
        builds = Builds(cluster, cluster.pack.wait_healthy())
        assert webhook(builds, job_id, "delivered")["tries"] == 1
    assert marks(cluster, job_id) == 404


@pytest.mark.slow
def test_marks_that_cannot_be_read_stop_nobody(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    """As another version may leave them: they stay, and everything else goes on."""
    running = controller_pid(builds)
    job_id = builds.submit(
        builds.request(builds.dockerfile("RUN false"), webhook_url=receiver.address)
    )
    good = {"url": receiver.address, "secret": None, "headers": {}, "due": 0, "schema": 1}
    planted = {
        "nothing": b"",
        "no-fields": b'{"schema":1}',
        "further-field": json.dumps(good | {"later": 1}).encode(),
        "no-time": json.dumps(good | {"due": "soon"}).encode(),
        "no-host": json.dumps(good | {"url": "https://a..b/"}).encode(),
    }
    keys = [f"webhooks/{job_id.rpartition('.')[0]}.1-{name}" for name in planted]
    for key, value in zip(keys, planted.values(), strict=True):
        consul(cluster, "PUT", key, content=value).raise_for_status()
    try:
        one_call(receiver, job_id)
        assert webhook(builds, job_id, "delivered")["tries"] == 1
        assert controller_pid(builds) == running
        assert [consul(cluster, "GET", key).status_code for key in keys] == [200] * len(keys)
    finally:
        for key in keys:
            consul(cluster, "DELETE", key)


@pytest.mark.slow
def test_replicas_deliver_once(
    builds: Builds, cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    """The first tries fail, so that all replicas wait for the same moment to try again."""
    receiver.answers += [(500, {})] * 6
    settings = {f"NBS_{name.upper()}": value for name, value in CONFIG.items()}
    settings["NBS_RELIST_INTERVAL"] = "0.2"
    repository = builds.dockerfile("RUN false")
    with serving(cluster, tmp_path, settings), serving(cluster, tmp_path, settings):
        job_ids = [
            builds.submit(builds.request(repository, webhook_url=receiver.address))
            for _ in range(6)
        ]
        tries = [webhook(builds, job_id, "delivered", 90)["tries"] for job_id in job_ids]
    assert sum(tries) == 12
    assert [len(receiver.of(job_id)) for job_id in job_ids] == tries


@pytest.mark.slow
def test_a_receiver_that_does_not_answer_holds_up_no_other(
    builds: Builds, receiver: Receiver
) -> None:
    receiver.hold = threading.Event()
    repository = builds.dockerfile("RUN false")
    slow = builds.submit(builds.request(repository, webhook_url=receiver.address))
    one_call(receiver, slow)
    with receiving(ALLOWED) as quick:
        other = builds.submit(builds.request(repository, webhook_url=quick.address))
        webhook(builds, other, "delivered")
    assert builds.status(slow)["webhook"]["state"] == "pending", "the slow one was waited for"
    receiver.hold.set()
    webhook(builds, slow, "delivered")


@pytest.mark.slow
def test_what_was_cleaned_up_while_it_was_sent_stays_away(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    repository = builds.dockerfile("RUN false")
    for answer in (204, 500):
        receiver.hold = threading.Event()
        receiver.answers.append((answer, {}))
        job_id = builds.submit(builds.request(repository, webhook_url=receiver.address))
        one_call(receiver, job_id)
        cleaned = builds.http.post("/mcp/cleanup", json={"job_id": job_id})
        assert cleaned.json()["cleaned_jobs"] == [job_id], cleaned.text
        receiver.hold.set()
        receiver.hold = None
        # Another one, whose delivery ends after that of the first.
        later = builds.submit(builds.request(repository, webhook_url=receiver.address))
        webhook(builds, later, "delivered")
        for kept in ("webhooks", "webhook-ends", "history"):
            assert consul(cluster, "GET", f"{kept}/{job_id}").status_code == 404
        assert len(receiver.of(job_id)) == 1


@pytest.mark.slow
def test_a_secret_that_cannot_be_used_breaks_nothing_else(
    builds: Builds, cluster: Cluster, receiver: Receiver
) -> None:
    """What a secret holds nobody has checked before."""
    repository = builds.dockerfile("RUN false")
    snow = {"secret": "k", "hosts": ALLOWED, "authorization": "Bearer \N{SNOWMAN}"}
    secrets: dict[str, dict[str, Any]] = {
        "a number": {"secret": 5},
        "no ASCII": snow,
        "two lines": snow | {"authorization": "Bearer a\r\nX-Other: b"},
        "another host": {"secret": "k", "hosts": "ci.example.com"},
    }
    broken = []
    for number, fields in enumerate(secrets.values()):
        path = f"nomad-build-service/webhook/broken-{number}"
        cluster.vault_put(path, fields)
        hook = {"webhook_url": receiver.address, "webhook_secret": f"secret/{path}"}
        broken.append(builds.submit(builds.request(repository, **hook)))
    good = builds.submit(builds.request(repository, webhook_url=receiver.address))
    webhook(builds, good, "delivered", 90)
    for job_id in broken:
        told = webhook(builds, job_id, "failed", 60)
        assert told["last_error"]
        assert "Bearer" not in told["last_error"]
        assert receiver.of(job_id) == []
    assert "Bearer" not in controller_log(builds)


def test_a_redirect_leads_nowhere(builds: Builds, receiver: Receiver) -> None:
    with receiving("127.0.0.1") as inside:
        receiver.answers.append((307, {"Location": f"{inside.address}/inside"}))
        job_id = builds.submit(
            builds.request(builds.dockerfile("RUN false"), webhook_url=receiver.address)
        )
        found = webhook(builds, job_id, "failed", 60)
        assert "redirects are not followed" in found["last_error"]
        assert inside.calls == []


def test_a_private_address_behind_a_name_is_not_called(builds: Builds) -> None:
    """Dispatched by hand, past the checks of submitJob: the delivery checks by itself."""
    with receiving("127.0.0.1") as inside:
        port = inside.address.rpartition(":")[2]
        request = builds.request(
            builds.dockerfile("RUN false"), webhook_url=f"http://localhost:{port}/"
        )
        child = builds.dispatch(request)
        builds.await_end(child)
        found = webhook(builds, child, "failed", 60)
        assert "private address" in found["last_error"]
        assert "127.0.0.1" not in found["last_error"]
        assert inside.calls == []


def controller_log(builds: Builds) -> str:
    return "".join(
        builds.nomad.get(
            f"/v1/client/fs/logs/{allocation['ID']}",
            params={"task": "controller", "type": "stderr", "plain": "true"},
        ).text
        for allocation in builds.nomad.get("/v1/job/nomad-build-service/allocations").json()
        if allocation["ClientStatus"] == "running"
    )


def controller_pid(builds: Builds) -> int:
    """The process of the deployed controller, found by the port that it listens on."""
    port = int(builds.address.rpartition(":")[2])
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and b"controller\0serve" in _command(process):
            environ = (process / "environ").read_bytes().split(b"\0")
            if f"NBS_PORT={port}".encode() in environ:
                return int(process.name)
    raise AssertionError(f"no controller on port {port}")


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
