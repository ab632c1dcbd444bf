"""The Authorization header of a webhook's secret: to its hosts over HTTPS, and nowhere else."""

from __future__ import annotations

import base64
import json
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from builds import Builds, eventually, nomad_job_id
from controllers import Serving, serving
from probe import PREFIX, copy_of_image_build, vault_roles, with_own_role
from receiver import receiving

from cluster.certificates import Authority
from cluster.cluster import Cluster

NAME = "nomad-build-service/webhook/authorized"
KEY, AUTHORIZATION = f"key-{uuid.uuid4().hex}", f"Bearer {uuid.uuid4().hex}"


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """The TLS side of a receiver on localhost; `authority.pem` is who signed for it."""
    signed = Authority(tmp_path / "authority.pem", tmp_path / "authority.key").certificate("hook")
    pem = tmp_path / "receiver.pem"
    pem.write_text(signed.certificate + signed.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.fixture
def served(
    cluster: Cluster, controller_address: str, tls: ssl.SSLContext, tmp_path: Path
) -> Iterator[Serving]:
    """A deployment of the test's own, whose controller trusts the receiver's certificate."""
    settings = {
        "NBS_NAME_PREFIX": f"{PREFIX}-",
        "NBS_WEBHOOK_ALLOW": "localhost,127.0.0.1/32",
        "NBS_WEBHOOK_WINDOW": "4",
        "NBS_WEBHOOK_CACERT": str(tmp_path / "authority.pem"),
    }
    builds = Builds(cluster, controller_address)
    with (
        vault_roles(cluster),
        copy_of_image_build(builds, with_own_role),
        serving(cluster, tmp_path, settings) as one,
    ):
        yield one


@pytest.mark.slow
def test_it_reaches_its_hosts_over_https_and_nobody_else(
    cluster: Cluster, served: Serving, tls: ssl.SSLContext
) -> None:
    builds = Builds(cluster, served.address)
    repository = builds.dockerfile("RUN false")
    cluster.vault_put(NAME, {"secret": KEY, "authorization": AUTHORIZATION, "hosts": "localhost"})

    def submit(url: str) -> str:
        return builds.submit(
            builds.request(repository, webhook_url=url, webhook_secret=f"secret/{NAME}")
        )

    def last_error(job_id: str, state: str) -> str:
        def look() -> str | None:
            found = builds.status(job_id)["webhook"]
            return found["last_error"] or "none" if found["state"] == state else None

        return eventually(f"the webhook of {job_id} is {state}", look)

    with receiving(tls=tls) as secure, receiving() as plain:
        ports = [one.address.rpartition(":")[2] for one in (secure, plain)]
        right = submit(f"https://localhost:{ports[0]}/hook")
        in_clear = submit(f"http://localhost:{ports[1]}/hook")
        elsewhere = submit(f"https://127.0.0.1:{ports[0]}/hook")
        assert last_error(right, "delivered") == "none"
        assert "over HTTPS only" in last_error(in_clear, "failed")
        assert "not for 127.0.0.1" in last_error(elsewhere, "failed")
        (call,) = secure.calls
        assert call.document["job_id"] == right
        assert call.headers["authorization"] == AUTHORIZATION
        assert call.is_signed(KEY)
        assert plain.calls == []

        cluster.vault_put(NAME, {"secret": KEY, "authorization": AUTHORIZATION})
        anywhere = submit(f"https://localhost:{ports[0]}/hook")
        assert "no `hosts`" in last_error(anywhere, "failed")
        assert len(secure.calls) == 1

    kept = httpx.get(
        f"{cluster.consul.address}/v1/kv/nomad-build-service/",
        params={"recurse": ""},
        headers=cluster.consul.headers,
    ).json()
    said = {one["Key"]: base64.b64decode(one["Value"] or "").decode("latin-1") for one in kept}
    said["log"] = served.log
    for job_id in (right, in_clear, elsewhere, anywhere):
        said |= {
            f"status {job_id}": json.dumps(builds.status(job_id)),
            f"job {job_id}": json.dumps(builds.job(nomad_job_id(job_id))),
        }
    assert [name for name, text in said.items() if KEY in text or AUTHORIZATION in text] == []
