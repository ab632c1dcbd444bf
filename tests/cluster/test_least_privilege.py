"""Each identity tries what it must not do, and the real server refuses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds
from probe import PREFIX, attempts_of_build, vault_roles

from cluster.cluster import Cluster
from controller.clients.consul import ConsulClient, put
from controller.errors import RefusedError, ServiceError
from controller.settings import load

ROLES = tuple(f"{PREFIX}-{name}" for name in ("build", "publish", "intermediate", "controller"))
GIT = "secret/data/nomad-build-service/git/demo"
PULL = "secret/data/nomad-build-service/pull/base"
CACHE = "secret/data/nomad-build-service/cache/layers"
REGISTRY = "secret/data/nomad-build-service/registry/demo"
INTERMEDIATE = "secret/data/nomad-build-service/intermediate/demo"
SECRETS = (
    GIT,
    PULL,
    CACHE,
    REGISTRY,
    INTERMEDIATE,
    "secret/data/another-service/key",
    "secret/metadata/nomad-build-service/git?list=true",
    "sys/policies/acl/nbs-publish",
    "auth/jwt-nomad/role/nbs-publish",
)
# Nomad takes every identity that it issued, also one for Vault, as a token that may read the
# variables of its job. Identities are deleted before untrusted code runs, and we store no variable.
OWN_VARIABLES = "/v1/var/nomad/jobs/probe-image-build"
NOMAD = (
    "/v1/jobs",
    "/v1/allocations",
    "/v1/nodes",
    OWN_VARIABLES,
    "/v1/var/nomad/jobs/nomad-build-service",
    "/v1/acl/tokens",
    "/v1/agent/self",
)


@pytest.fixture(scope="module")
def found(cluster: Any, controller_address: str) -> dict[str, dict[str, Any]]:
    """What the attempts in each task of a build came to."""
    builds = Builds(cluster, cluster.pack.wait_healthy())
    plan = {
        "vault": cluster.vault.address,
        "agent": cluster.nomad.address,
        "roles": ROLES,
        "secrets": SECRETS,
        "nomad": NOMAD,
    }
    with vault_roles(cluster):
        return attempts_of_build(builds, plan)


@pytest.mark.parametrize(
    ("task", "role", "readable"),
    [
        ("build", "build", {GIT, PULL, CACHE}),
        ("publish", "publish", {REGISTRY}),
        ("keep", "intermediate", {INTERMEDIATE}),
    ],
)
def test_a_phase_reads_its_own_credentials_and_no_others(
    found: dict[str, dict[str, Any]], task: str, role: str, readable: set[str]
) -> None:
    own = f"{PREFIX}-{role}"
    assert found[task]["roles"] == {role: 200 if role == own else 400 for role in ROLES}
    assert found[task]["secrets"] == {
        f"{own} {path}": 200 if path in readable else 403 for path in SECRETS
    }


@pytest.mark.parametrize("task", ["test", "finish"])
def test_tasks_without_credentials_have_no_identity(
    found: dict[str, dict[str, Any]], task: str
) -> None:
    assert found[task]["identities"] == []
    assert found[task]["roles"] == {}


@pytest.mark.parametrize("task", ["build", "test", "publish", "keep", "finish"])
def test_no_task_of_a_build_gets_anything_from_nomad(
    found: dict[str, dict[str, Any]], task: str
) -> None:
    assert found[task]["tokens in the environment"] == []
    # Task `keep` runs when a phase has failed, and then Nomad issues no identity but its own; Vault
    # takes that one, and in Nomad it opens no more than those for Vault do.
    assert found[task]["nomad_token file"] is (task == "keep")
    answers = {**found[task]["task socket"], **found[task]["agent"]}
    assert answers
    open_to = {what: status for what, status in answers.items() if status not in (401, 403)}
    identity = task in ("build", "publish", "keep")
    assert open_to == ({f"{OWN_VARIABLES} with identity": 404} if identity else {})


# The controller


@pytest.fixture
def secrets(builds: Builds) -> Path:
    """The secrets directory of the controller's task, with its identities."""
    running = [
        one["ID"]
        for one in builds.nomad.get("/v1/job/nomad-build-service/allocations").json()
        if one["ClientStatus"] == "running"
    ]
    return Path(builds.cluster.state.allocations / running[-1] / "controller" / "secrets")


def refused(http: httpx.Client, requests: Mapping[str, tuple[str, str, Any]]) -> dict[str, int]:
    """The statuses of requests that were not refused with 403."""
    answers = {
        what: http.request(method, path, json=body).status_code
        for what, (method, path, body) in requests.items()
    }
    return {what: status for what, status in answers.items() if status != 403}


def test_the_controller_may_do_nothing_else_in_nomad(builds: Builds, secrets: Path) -> None:
    token = (secrets / "nomad_token").read_text()
    http = httpx.Client(
        base_url=builds.cluster.nomad.address, headers={"X-Nomad-Token": token}, timeout=10
    )
    job = builds.job("image-build") | {"ID": "mine", "Name": "mine"}
    allocation = builds.nomad.get("/v1/job/nomad-build-service/allocations").json()[0]["ID"]
    node = builds.cluster.nomad.node()["ID"]
    assert http.get("/v1/jobs").status_code == 200
    assert (
        refused(
            http,
            {
                "register a job": ("POST", "/v1/jobs", {"Job": job}),
                "change its own job": (
                    "POST",
                    "/v1/job/nomad-build-service",
                    {"Job": builds.job("nomad-build-service")},
                ),
                "scale": ("POST", "/v1/job/nomad-build-service/scale", {"Count": 2, "Target": {}}),
                "read another job's variable": ("GET", "/v1/var/nomad/jobs/image-build", None),
                "write a variable": ("PUT", "/v1/var/x", {"Path": "x", "Items": {"a": "b"}}),
                "list tokens": ("GET", "/v1/acl/tokens", None),
                "make a token": ("POST", "/v1/acl/token", {"Type": "management", "Name": "x"}),
                "change its policy": (
                    "POST",
                    "/v1/acl/policy/nbs-controller",
                    {"Name": "nbs-controller", "Rules": 'namespace "*" { policy = "write" }'},
                ),
                "restart an allocation": (
                    "PUT",
                    f"/v1/client/allocation/{allocation}/restart",
                    {},
                ),
                "drain a node": ("POST", f"/v1/node/{node}/drain", {"DrainSpec": {}}),
                "look into the agent": ("GET", "/v1/agent/self", None),
                "change the scheduler": ("PUT", "/v1/operator/scheduler/configuration", {}),
            },
        )
        == {}
    )


def test_the_controller_reads_no_credential_in_vault(builds: Builds, secrets: Path) -> None:
    trust = ssl.create_default_context(cafile=builds.cluster.state.cacert)
    http = httpx.Client(base_url=builds.cluster.vault.address, timeout=10, verify=trust)
    jwt = (secrets / "nomad_vault.jwt").read_text()
    roles = {
        role: http.post("/v1/auth/jwt-nomad/login", json={"role": role, "jwt": jwt})
        for role in ("nbs-controller", "nbs-build", "nbs-publish")
    }
    assert [answer.status_code for answer in roles.values()] == [200, 400, 400]
    http.headers["X-Vault-Token"] = roles["nbs-controller"].json()["auth"]["client_token"]
    seen = http.get("/v1/secret/metadata/nomad-build-service/registry/demo")
    assert seen.status_code == 200
    # The keys of webhooks, which it signs itself, are the one exception: 404, there is none.
    assert http.get("/v1/secret/data/nomad-build-service/webhook/none").status_code == 404
    assert (
        refused(
            http,
            {path: ("GET", f"/v1/{path}", None) for path in SECRETS}
            | {
                "write": ("POST", f"/v1/{REGISTRY}", {"data": {"password": "x"}}),
                "destroy": ("DELETE", "/v1/secret/metadata/nomad-build-service/git/demo", None),
                "sign": ("GET", "/v1/identity/oidc/token/x", None),
            },
        )
        == {}
    )


def test_the_controller_has_its_own_keys_in_consul_only(builds: Builds, secrets: Path) -> None:
    http = httpx.Client(base_url=builds.cluster.consul.address, timeout=10)
    jwt = (secrets / "nomad_consul.jwt").read_text()
    login = http.post("/v1/acl/login", json={"AuthMethod": "nbs", "BearerToken": jwt})
    http.headers["X-Consul-Token"] = login.raise_for_status().json()["SecretID"]
    assert http.get("/v1/kv/nomad-build-service/?keys").status_code in (200, 404)
    assert (
        refused(
            http,
            {
                "its own settings": ("PUT", "/v1/kv/nomad-build-service/config/git_hosts", {}),
                "another key": ("PUT", "/v1/kv/another-service/x", {}),
                "a key of a similar name": ("PUT", "/v1/kv/nomad-build-service-2/x", {}),
                "a service": ("PUT", "/v1/agent/service/register", {"Name": "x"}),
                "tokens": ("GET", "/v1/acl/tokens", None),
                "its policy": ("GET", "/v1/acl/policy/name/nbs-controller", None),
                "members": ("GET", "/v1/operator/raft/configuration", None),
            },
        )
        == {}
    )
    # Of a transaction Consul says with 409 that rights are lacking, and the client knows.
    denied = [{"KV": {"Verb": "set", "Key": "another-service/x", "Value": ""}}]
    answer = http.put("/v1/txn", json=denied)
    assert answer.status_code == 409
    assert "ermission denied" in answer.text
    settings = load(
        {
            "CONSUL_HTTP_ADDR": builds.cluster.consul.address,
            "CONSUL_HTTP_TOKEN": http.headers["X-Consul-Token"],
        },
        {},
    )
    with pytest.raises(RefusedError):
        asyncio.run(ConsulClient(settings).transaction(put("another-service/x", b"")))
    http.post("/v1/acl/logout").raise_for_status()


def test_identities_of_builds_cannot_log_in_to_consul(builds: Builds, secrets: Path) -> None:
    """Its binding rule is for the controller's task; the audience is Consul's own."""
    http = httpx.Client(base_url=builds.cluster.consul.address, timeout=10)
    jwt = (secrets / "nomad_vault.jwt").read_text()
    answer = http.post("/v1/acl/login", json={"AuthMethod": "nbs", "BearerToken": jwt})
    assert answer.status_code in (403, 500)  # Consul calls a wrong audience a failure of its own
    assert "audience" in answer.text


def test_servers_let_nobody_in_without_a_token(builds: Builds) -> None:
    cluster = builds.cluster
    trust = ssl.create_default_context(cafile=cluster.state.cacert)
    for url in (
        f"{cluster.nomad.address}/v1/jobs",
        f"{cluster.nomad.address}/v1/nodes",
        f"{cluster.consul.address}/v1/agent/self",
        f"{cluster.vault.address}/v1/{GIT}",
    ):
        assert httpx.get(url, verify=trust).status_code == 403, url
    # Without a token Consul shows no key at all, as if there were none.
    assert httpx.get(f"{cluster.consul.address}/v1/kv/?keys").json() == []
    assert httpx.get(f"{cluster.consul.address}/v1/catalog/nodes").json() == []


def test_an_identity_that_consul_does_not_take_is_a_refusal_and_stays_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Never an answer as to somebody without a token, to whom Consul shows nothing."""
    identity = tmp_path / "identity.jwt"
    identity.write_text("no.identity.atall")
    settings = load(
        {"CONSUL_HTTP_ADDR": cluster.consul.address, "NBS_CONSUL_JWT_FILE": str(identity)}, {}
    )

    async def ask() -> list[str]:
        client = ConsulClient(settings)
        told = []
        for _ in range(3):
            try:
                told.append(str(await client.keys("nomad-build-service/")))
            except ServiceError as error:
                told.append(error.message.partition(":")[0])
        await client.close()
        return told

    assert asyncio.run(ask()) == ["consul refuses the login of this service"] * 3
