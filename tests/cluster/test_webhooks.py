"""Webhooks with a real receiver and real builds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, serving
from probe import PREFIX, copy_of_image_build, vault_roles, with_own_role

from cluster.cluster import Cluster

KEY = "a-key-to-sign-with"
AUTHORIZATION = "Bearer of-the-receiver"
SECRET = "secret/nomad-build-service/webhook/demo"
ALLOWED = {"NBS_WEBHOOK_ALLOW": "127.0.0.1", "NBS_WEBHOOK_RETRY": "0.2"}


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """A server that keeps what it is sent and answers as it is told."""

    port: int = 0
    answer: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (204, {})
    received: list[Received] = field(default_factory=list)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, job_id: str) -> list[Received]:
        return [one for one in self.received if one.document["job_id"] == job_id]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.received.append(Received(self.path, dict(self.headers), body))
            status, headers = found.answer(len(found.received))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@dataclass
class Hooked:
    """Builds of a deployment of the test's own, with the controller that tells of their ends."""

    builds: Builds
    serving: Serving

    def submit(self, receiver: Receiver, *instructions: str, **fields: Any) -> str:
        """Submit a build that tells `receiver` of its end."""
        request = self.builds.request(
            self.builds.dockerfile(*instructions), webhook_url=receiver.url(), **fields
        )
        return self.builds.submit(request)

    def state(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.builds.status(job_id)["webhook"]
        return found

    def await_state(self, job_id: str, wanted: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            state = self.state(job_id)
            return state if state and state["state"] == wanted else None

        return eventually(f"the webhook of {job_id} is {wanted}", look)


@pytest.fixture(scope="module")
def settings(cluster: Cluster, controller_address: str) -> Iterator[dict[str, str]]:
    """Settings of a deployment of its own: the deployed controller has no part in its builds."""
    cluster.vault_put(
        SECRET.removeprefix("secret/"), {"secret": KEY, "authorization": AUTHORIZATION}
    )
    builds = Builds(cluster, cluster.pack.wait_healthy())
    with vault_roles(cluster), copy_of_image_build(builds, with_own_role):
        yield {**ALLOWED, "NBS_NAME_PREFIX": f"{PREFIX}-"}


@pytest.fixture
def hooked(cluster: Cluster, settings: dict[str, str], tmp_path: Path) -> Iterator[Hooked]:
    with serving(cluster, tmp_path, settings) as one:
        yield Hooked(Builds(cluster, one.address), one)


def test_a_success_is_told_signed_and_once(hooked: Hooked, receiver: Receiver) -> None:
    job_id = hooked.submit(
        receiver, webhook_secret=SECRET, webhook_headers={"X-Environment": "staging"}
    )
    status = hooked.builds.await_status(job_id, "SUCCEEDED")
    assert hooked.await_state(job_id, "delivered")["tries"] == 1
    (told,) = receiver.of(job_id)
    said = told.document
    assert (said["event"], said["status"]) == ("job.completed", "SUCCEEDED")
    assert said["digest"] == status["digest"]
    assert said["owner"] == status["config"]["owner"]
    assert said["logs"]["build"]
    assert said["metrics"]["total_duration"] == said["duration"] > 0
    assert told.headers["X-Environment"] == "staging"
    assert told.headers["Authorization"] == AUTHORIZATION
    assert told.headers["X-Webhook-Id"] == job_id
    signature = hmac.new(KEY.encode(), told.body, hashlib.sha256).hexdigest()
    assert told.headers["X-Webhook-Signature"] == f"sha256={signature}"
    moment = told.headers["X-Webhook-Timestamp"]
    signed = f"{job_id}.{moment}.".encode() + told.body
    signature = hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()
    assert told.headers["X-Webhook-Signature-V2"] == f"sha256={signature}"
    assert "Webhook delivered successfully" in hooked.serving.log
    assert hooked.serving.metric('webhook_deliveries_total{result="delivered"}') == 1
    _assert_no_secret_in(hooked, job_id)


def _assert_no_secret_in(hooked: Hooked, job_id: str) -> None:
    """Neither the key nor the path of the URL is anywhere that callers and operators look."""
    builds, consul = hooked.builds, hooked.builds.cluster.consul
    payload = base64.b64decode(builds.job(nomad_job_id(job_id))["Payload"]).decode()
    kept = httpx.get(
        f"{consul.address}/v1/kv/nomad-build-service/?recurse", headers=consul.headers
    ).json()
    values = [base64.b64decode(one["Value"] or "").decode("utf-8", "replace") for one in kept]
    status = json.dumps(builds.status(job_id))
    for text in (payload, hooked.serving.log, status, *values):
        assert KEY not in text
        assert AUTHORIZATION not in text
    assert "/hook" not in status + hooked.serving.log
    assert "staging" not in status


def test_a_failure_and_a_kill_are_told(hooked: Hooked, receiver: Receiver) -> None:
    failing = hooked.submit(receiver, "RUN echo why; exit 3")
    stopped = hooked.submit(receiver, "RUN echo begun; sleep 60")
    hooked.builds.await_log(stopped, "begun")
    hooked.builds.http.post("/mcp/killJob", json={"job_id": stopped}).raise_for_status()
    for job_id, event in ((failing, "job.failed"), (stopped, "job.cancelled")):
        hooked.await_state(job_id, "delivered")
        (told,) = receiver.of(job_id)
        assert told.document["event"] == event
    said = receiver.of(failing)[0].document
    assert (said["phase"], said["failure"]["reason"]) == ("build", "RunFailed")
    assert said["error"].startswith("build: RunFailed")
    assert "X-Webhook-Signature" not in receiver.of(failing)[0].headers


def test_what_is_not_wanted_is_not_told(hooked: Hooked, receiver: Receiver) -> None:
    quiet = hooked.submit(receiver, webhook_on_success=False)
    loud = hooked.submit(receiver, webhook_on_failure=False)
    hooked.await_state(loud, "delivered")
    hooked.builds.await_status(quiet, "SUCCEEDED")
    assert hooked.state(quiet) is None
    assert receiver.of(quiet) == []


def test_a_receiver_that_stumbles_is_told_again(hooked: Hooked, receiver: Receiver) -> None:
    receiver.answer = lambda number: (500, {}) if number < 3 else (200, {})
    job_id = hooked.submit(receiver, "RUN exit 1")
    assert hooked.await_state(job_id, "delivered")["tries"] == 3
    assert len({one.headers["X-Webhook-Id"] for one in receiver.of(job_id)}) == 1
    assert len({one.body[:40] for one in receiver.of(job_id)}) == 1


def test_a_receiver_that_refuses_is_left_alone(hooked: Hooked, receiver: Receiver) -> None:
    receiver.answer = lambda number: (410, {})
    job_id = hooked.submit(receiver, "RUN exit 1")
    assert hooked.await_state(job_id, "failed") == {
        "state": "failed", "tries": 1, "last_error": "it answered 410",
    }  # fmt: skip
    assert len(receiver.of(job_id)) == 1
    assert hooked.builds.status(job_id)["failure"]["reason"] == "RunFailed"


def test_nobody_there_is_tried_four_times(hooked: Hooked) -> None:
    job_id = hooked.submit(Receiver(port=9), "RUN exit 1")
    state = hooked.await_state(job_id, "failed")
    assert state["tries"] == 4
    assert "ConnectError" in state["last_error"]


def test_no_redirect_is_followed(hooked: Hooked, receiver: Receiver) -> None:
    inside = hooked.builds.cluster.nomad.address
    receiver.answer = lambda number: (307, {"Location": f"{inside}/v1/system/gc"})
    job_id = hooked.submit(receiver, "RUN exit 1")
    assert hooked.await_state(job_id, "failed")["last_error"] == "it answered 307"
    assert len(receiver.received) == 1


def test_another_controller_tells_what_a_killed_one_could_not(
    cluster: Cluster, settings: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(number: int) -> tuple[int, dict[str, str]]:
        asked.set()
        if number == 1:
            go_on.wait(30)  # the controller that asks dies meanwhile
        return 204, {}

    receiver.answer = answer
    with serving(cluster, tmp_path, settings) as first:
        hooked = Hooked(Builds(cluster, first.address), first)
        job_id = hooked.submit(receiver, "RUN exit 1")
        assert asked.wait(60)
        first.stop(signal.SIGKILL)
    go_on.set()
    expire_claim(cluster, job_id)
    with serving(cluster, tmp_path, settings) as second:
        hooked = Hooked(Builds(cluster, second.address), second)
        assert hooked.await_state(job_id, "delivered")["tries"] == 2
    assert [one.headers["X-Webhook-Id"] for one in receiver.of(job_id)] == [job_id] * 2


def expire_claim(cluster: Cluster, job_id: str) -> None:
    """Let the minute pass for which a try is its controller's own."""
    key = f"{cluster.consul.address}/v1/kv/nomad-build-service/webhooks/pending/{job_id}?raw"
    mark = httpx.get(key, headers=cluster.consul.headers).json()
    assert mark["tries"] == 1
    put = httpx.put(key, content=json.dumps(mark | {"due": 0}), headers=cluster.consul.headers)
    put.raise_for_status()


def test_addresses_inside_are_refused(
    cluster: Cluster, settings: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """At once where the URL shows it, else when the name is looked up."""
    name = inner_name()
    with serving(cluster, tmp_path, settings | {"NBS_WEBHOOK_ALLOW": ""}) as one:
        hooked = Hooked(Builds(cluster, one.address), one)
        request = hooked.builds.request(hooked.builds.dockerfile("RUN exit 1"))
        for url in (
            receiver.url(),
            f"https://127.0.0.1:{receiver.port}/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://localhost/",
            "http://example.com/",
        ):
            for operation in ("submitJob", "checkJob"):
                answer = one.post(operation, request | {"webhook_url": url})
                assert answer.status_code in (200, 422)
                assert "webhook_url" in answer.text, (operation, url)
                assert answer.status_code == 422 or answer.json()["ok"] is False
        job_id = hooked.builds.submit(request | {"webhook_url": f"https://{name}:{receiver.port}/"})
        state = hooked.await_state(job_id, "failed")
        assert state["last_error"] == f"{name} resolves to an address inside the network"
    assert receiver.received == []


def inner_name() -> str:
    """A name that leads inside, of this machine's own."""
    for name in (socket.gethostname(), "ip6-localhost", "ip6-loopback"):
        try:
            found = {ipaddress.ip_address(one[4][0]) for one in socket.getaddrinfo(name, 1)}
        except OSError:
            continue
        if any(one.is_private for one in found):
            return name
    raise AssertionError("this machine has no name for an address of its own")


def test_a_secret_is_a_path_that_is_there(hooked: Hooked, receiver: Receiver) -> None:
    request = hooked.builds.request(
        hooked.builds.dockerfile("RUN exit 1"), webhook_url=receiver.url()
    )
    value = f"s3cret-{uuid.uuid4().hex}"
    refused = hooked.serving.post("submitJob", request | {"webhook_secret": value})
    assert refused.status_code == 422
    assert value not in refused.text
    missing = hooked.serving.post(
        "submitJob", request | {"webhook_secret": f"{SECRET.rpartition('/')[0]}/none"}
    )
    assert missing.json()["problems"][0]["field"] == "webhook_secret"
    header = hooked.serving.post(
        "submitJob", request | {"webhook_headers": {"Authorization": value}}
    )
    assert header.status_code == 422
    assert value not in header.text


def test_cleanup_takes_what_is_kept_of_a_webhook(hooked: Hooked, receiver: Receiver) -> None:
    job_id = hooked.submit(receiver, "RUN exit 1")
    hooked.await_state(job_id, "delivered")
    hooked.serving.post("cleanup", {"job_id": job_id}).raise_for_status()
    consul = hooked.builds.cluster.consul
    keys = httpx.get(
        f"{consul.address}/v1/kv/nomad-build-service/webhooks/?keys", headers=consul.headers
    )
    assert keys.status_code == 404 or not any(key.endswith(job_id) for key in keys.json())
