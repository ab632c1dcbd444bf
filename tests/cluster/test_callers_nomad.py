"""Callers with Nomad's own tokens, and with workload identities that Nomad issues."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import Builds, eventually
from controllers import serving

from cluster.cluster import Cluster

Token = Callable[..., str]
GRANTS = {
    "nbs-readers": {"scopes": "build:read"},
    "nbs-team-*": {"scopes": ["build:read", "build:write"], "owner": "*"},
    "nbs-operators": {"scopes": "build:admin"},
}
AUDIENCE = "nomad-build-service"


@pytest.fixture(scope="module")
def token(cluster: Cluster) -> Iterator[Token]:
    """Makes a token with policies (none of which allows anything in Nomad) and roles."""
    http = httpx.Client(base_url=f"{cluster.nomad.address}/v1/acl", headers=cluster.nomad.headers)
    made: list[str] = []

    def make(*policies: str, name: str = "somebody", role: str = "", kind: str = "client") -> str:
        for policy in policies:
            rules = {"Name": policy, "Rules": 'namespace "none" { policy = "read" }'}
            http.post(f"/policy/{policy}", json=rules).raise_for_status()
        document: dict[str, Any] = {"Name": name, "Type": kind}
        if role:
            given = {"Name": role, "Policies": [{"Name": policy} for policy in policies]}
            document["Roles"] = [{"ID": http.put("/role", json=given).json()["ID"]}]
        elif kind == "client":
            document["Policies"] = list(policies)
        answer = http.post("/token", json=document).raise_for_status().json()
        made.append(answer["AccessorID"])
        secret: str = answer["SecretID"]
        return secret

    yield make
    for accessor in made:
        http.delete(f"/token/{accessor}")


@pytest.fixture(scope="module")
def address(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    settings = {
        "NBS_AUTH_MODE": "jwt,nomad",
        "NBS_AUTH_NOMAD_POLICIES": json.dumps(GRANTS),
        "NBS_AUTH_ISSUER": cluster.nomad.address,
        "NBS_AUTH_AUDIENCE": AUDIENCE,
        "NBS_AUTH_OWNER_CLAIM": "nomad_job_id",
        "NBS_AUTH_DEFAULT_SCOPES": "build:read,build:write",
    }
    with serving(cluster, tmp_path_factory.mktemp("nomad-callers"), settings) as one:
        yield one.address


def call(address: str, name: str, document: Mapping[str, Any], token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{address}/mcp/{name}", json=document, headers=headers, timeout=60)


def test_policies_give_scopes_and_owner(
    builds: Builds, address: str, token: Token, cluster: Cluster
) -> None:
    owner = f"t{uuid.uuid4().hex[:6]}"
    mine = token(f"nbs-team-{owner}")
    request = builds.request(
        builds.dockerfile(), owner=None, git_credentials_path=None, registry_credentials_path=None
    )
    submitted = call(address, "submitJob", request, mine)
    assert submitted.status_code == 200, submitted.text
    job_id = submitted.json()["job_id"]
    asked = {"job_id": job_id}
    assert call(address, "getStatus", asked, mine).json()["config"]["owner"] == owner
    of_role = token(f"nbs-team-{owner}", role=f"r{owner}")
    assert call(address, "getStatus", asked, of_role).status_code == 200
    for theirs in (token("nbs-team-other"), token("nbs-readers", name="reader")):
        assert call(address, "getStatus", asked, theirs).status_code == 404
    for admin in (token("nbs-operators"), cluster.nomad.management_token):
        assert call(address, "getStatus", asked, admin).status_code == 200
    assert call(address, "killJob", asked, mine).status_code == 200


def test_the_command_line_needs_no_owner_with_a_token(
    builds: Builds, address: str, token: Token, tmp_path: Path
) -> None:
    owner = f"t{uuid.uuid4().hex[:6]}"
    request = builds.request(
        builds.dockerfile(), owner=None, git_credentials_path=None, registry_credentials_path=None
    )
    file = tmp_path / "build.json"
    file.write_text(json.dumps(request))
    environ = {**builds.cluster.env(), "NBS_ADDR": address, "NBS_TOKEN": token(f"nbs-team-{owner}")}
    nbs = str(builds.cluster.state.bin / "nbs")
    done = subprocess.run([nbs, "submit", str(file)], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip()
    status = call(address, "getStatus", {"job_id": job_id}, environ["NBS_TOKEN"]).json()
    assert status["config"]["owner"] == owner
    killed = subprocess.run([nbs, "kill", job_id], env=environ, capture_output=True, text=True)
    assert killed.returncode == 0, killed.stderr


def test_tokens_that_open_nothing(address: str, token: Token) -> None:
    reader = token("nbs-readers")
    assert call(address, "getHistory", {}, reader).status_code == 200
    refused = call(address, "submitJob", {}, reader)
    assert refused.status_code == 403
    assert 'scope="build:write"' in refused.headers["www-authenticate"]
    stranger = token("another-policy")
    assert call(address, "getHistory", {}, stranger).status_code == 403
    several = call(address, "getHistory", {}, token("nbs-team-a", "nbs-team-b"))
    assert several.status_code == 401
    assert "several owners: a, b" in several.json()["error"]
    for unknown in (str(uuid.uuid4()), "x", "not a token", f"{uuid.uuid4()}".upper()):
        answer = call(address, "getHistory", {}, unknown)
        assert answer.status_code == 401, unknown
        assert unknown not in answer.text or len(unknown) == 1


@pytest.mark.slow
def test_a_deleted_token_ends_soon(address: str, token: Token, cluster: Cluster) -> None:
    gone = token("nbs-readers")
    assert call(address, "getHistory", {}, gone).status_code == 200
    own = {"X-Nomad-Token": gone}
    accessor = httpx.get(f"{cluster.nomad.address}/v1/acl/token/self", headers=own).json()
    httpx.delete(
        f"{cluster.nomad.address}/v1/acl/token/{accessor['AccessorID']}",
        headers=cluster.nomad.headers,
    ).raise_for_status()
    eventually(
        "the token is refused",
        lambda: call(address, "getHistory", {}, gone).status_code == 401,
        seconds=20,
    )


def test_a_job_calls_with_its_workload_identity(
    builds: Builds, address: str, cluster: Cluster
) -> None:
    """Nomad is an OpenID Connect issuer like any other: a pipeline needs no stored credential."""
    name = f"pipeline-{uuid.uuid4().hex[:8]}"
    script = (
        "import os, urllib.request\n"
        "token = open(os.environ['NOMAD_SECRETS_DIR'] + '/nomad_nbs.jwt').read()\n"
        f"request = urllib.request.Request('{address}/mcp/getHistory', b'{{}}',\n"
        "    {'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json'})\n"
        "print(urllib.request.urlopen(request).read().decode())\n"
    )
    task = {
        "Name": "call",
        "Driver": "raw_exec",
        "User": cluster.task_user,
        "Config": {
            "command": str(cluster.state.node / "venv" / "bin" / "python"),
            "args": ["-c", script],
        },
        "Identities": [
            {"Name": "nbs", "Audience": [AUDIENCE], "File": True, "TTL": 3_600_000_000_000}
        ],
        "Resources": {"CPU": 50, "MemoryMB": 64},
    }
    group = {"Name": "g", "Tasks": [task], "RestartPolicy": {"Attempts": 0, "Mode": "fail"}}
    job = {"ID": name, "Name": name, "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}
    builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
    try:
        allocation = eventually(
            "the call was made",
            lambda: (
                (found := builds.allocation(name))
                and found["ClientStatus"] in ("complete", "failed")
                and found
            ),
        )
        said = builds.file(allocation["ID"], "alloc/logs/call.stdout.0")
        assert json.loads(said)["jobs"] == []
    finally:
        builds.nomad.delete(f"/v1/job/{name}", params={"purge": "true"})
