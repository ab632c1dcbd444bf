"""What owners may use, how many builds they may have, and who may be served at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import GIT, Builds, eventually
from controllers import REPOSITORY, Serving, serving
from issuing import Issuer, call, give_secrets, request_of, settings_of

from cluster.cluster import Cluster
from cluster.unplaceable import unplaceable
from controller.contract.results import OUTCOME_FILE

PREFIX = "owners-"


@pytest.fixture(scope="module")
def address(
    cluster: Cluster,
    controller_address: str,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A controller with policies for some teams; team-a has none."""
    give_secrets(cluster, "team-a", "team-b")
    git, registry = base_url(cluster).partition("://")[2], cluster.registry.host
    policies = {
        "narrow-*": {
            "repositories": [f"{git}/{{owner}}/*"],
            "registries": [f"{registry}/{{owner}}/*"],
        },
        "shared": {"vault_paths": ["secret/nomad-build-service/*/team-b"]},
    }
    settings = settings_of(
        issuer, NBS_OWNER_POLICIES=json.dumps(policies), NBS_GIT_HOSTS=git.partition("/")[0]
    )
    with serving(cluster, tmp_path_factory.mktemp("owners"), settings) as one:
        yield one.address


def base_url(cluster: Cluster) -> str:
    """What the URLs of repositories on the cluster's Git server begin with."""
    return cluster.git_http.url("x", private=True).rpartition("/")[0]


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [problem["field"] for problem in answer.json()["problems"]]


def test_secrets_of_others_are_closed_and_all_problems_come_at_once(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    token = issuer.token("team-a")
    theirs = request_of(builds, "team-b", image_tags=["not a tag"], colour="red")
    refused = call(address, "submitJob", theirs, token)
    assert sorted(fields(refused)) == [
        "colour",
        "git_credentials_path",
        "image_tags[0]",
        "registry_credentials_path",
    ]
    problem = next(
        one for one in refused.json()["problems"] if one["field"] == "git_credentials_path"
    )
    assert "owner 'team-a'" in problem["problem"]
    assert "git/{owner}" in problem["fix"]
    # Whether there is a secret at a closed path is not told either.
    for path in ("team-b", "nobody-has-this"):
        given = request_of(builds, "team-a", git_credentials_path=f"{GIT[: -len('demo')]}{path}")
        answer = call(address, "submitJob", given, token).json()["problems"]
        assert [one["problem"].replace(path, "X") for one in answer] == [
            "'secret/nomad-build-service/git/X' is not open to owner 'team-a'"
        ]
    checked = call(address, "checkJob", request_of(builds, "team-b"), token).json()
    assert not checked["ok"]
    failed = [one["field"] for one in checked["checks"] if one["status"] == "failed"]
    assert failed == ["git_credentials_path", "registry_credentials_path"]
    told = {one["name"]: one["status"] for one in checked["checks"]}
    assert {told[name] for name in ("git_ref", "dockerfile", "push")} == {"skipped"}


def test_own_secrets_build_and_a_policy_opens_others(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    for owner, secrets in (("team-a", "team-a"), ("shared", "team-b")):
        token = issuer.token(owner)
        job_id = call(address, "submitJob", request_of(builds, secrets), token).json()["job_id"]
        ended = call(address, "waitForJob", {"job_id": job_id, "timeout": 45}, token).json()
        assert ended["status"] == "SUCCEEDED", ended
    own = issuer.token("shared")
    assert fields(call(address, "submitJob", request_of(builds, "shared"), own)) == [
        "git_credentials_path",
        "registry_credentials_path",
    ]


def test_an_admin_is_held_to_the_owner_whom_they_act_for(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    admin = issuer.token("root", "build:admin")
    request = request_of(builds, "team-a")
    assert call(address, "submitJob", request | {"owner": "team-a"}, admin).status_code == 200
    assert len(fields(call(address, "submitJob", request | {"owner": "team-b"}, admin))) == 2


def test_nobody_acts_for_another_owner_by_way_of_a_promotion(
    builds: Builds, address: str, issuer: Issuer
) -> None:
    token = issuer.token("team-a")
    job_id = call(address, "submitJob", request_of(builds, "team-a"), token).json()["job_id"]
    call(address, "waitForJob", {"job_id": job_id, "timeout": 45}, token)
    wish = {"job_id": job_id, "tags": ["x"]}
    theirs = "secret/nomad-build-service/registry/team-b"
    assert fields(call(address, "promoteImage", wish | {"owner": "team-b"}, token)) == ["owner"]
    refused = call(address, "promoteImage", wish | {"destination_credentials_path": theirs}, token)
    assert fields(refused) == ["destination_credentials_path"]
    image = {"image": f"{builds.cluster.registry.host}/a/b", "digest": f"sha256:{'0' * 64}"}
    given = image | {"registry_credentials_path": theirs}
    assert fields(call(address, "promoteImage", given, token)) == [
        "tags",
        "registry_credentials_path",
    ]


def test_repositories_and_registries(builds: Builds, address: str, issuer: Issuer) -> None:
    token, host = issuer.token("narrow-x"), builds.cluster.registry.host
    git = base_url(builds.cluster)
    request = request_of(builds, "narrow-x", git_credentials_path=None)
    request |= {"registry_credentials_path": None}
    assert fields(call(address, "submitJob", request, token)) == ["repo_url", "registry_url"]
    good = request | {"registry_url": f"{host}/narrow-x", "repo_url": f"{git}/narrow-x/app"}
    assert call(address, "submitJob", good, token).status_code == 200
    around = (f"{git}/narrow-x/../team-b/app", f"{git}/narrow-x/%2e%2e/app", f"{git}//narrow-x/a")
    for url in around:
        refused = call(address, "submitJob", good | {"repo_url": url}, token)
        assert fields(refused) == ["repo_url"], url
        assert "more than one way" in refused.text
    wish = {
        "image": f"{host}/narrow-x/app",
        "digest": f"sha256:{'0' * 64}",
        "tags": ["x"],
        "destination": f"{host}/team-b/app",
    }
    assert fields(call(address, "promoteImage", wish, token)) == ["destination"]
    wish |= {"image": f"{host}/team-b/app", "destination": f"{host}/narrow-x/app"}
    assert fields(call(address, "promoteImage", wish, token)) == ["image"]


def test_git_servers_and_transports(builds: Builds, address: str, issuer: Issuer) -> None:
    token = issuer.token("team-a")
    for url, word in (
        ("https://git.elsewhere.example/team/app", "git.elsewhere.example"),
        ("git@git.elsewhere.example:team/app", "git.elsewhere.example"),
    ):
        refused = call(address, "submitJob", request_of(builds, "team-a", repo_url=url), token)
        assert fields(refused) == ["repo_url"]
        assert word in refused.text


def test_transports_are_checked_before_a_build_begins(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    with serving(cluster, tmp_path, {"NBS_GIT_PROTOCOLS": "https,ssh"}) as one:
        refused = one.post("submitJob", builds.request(builds.dockerfile()))
    assert fields(refused) == ["repo_url"]
    assert "https, ssh" in refused.text


@contextmanager
def allowing(builds: Builds, *hosts: str) -> Iterator[str]:
    """The job image-build under another name, for whose tasks only some Git servers are allowed."""
    job = builds.job("image-build")
    name = f"{PREFIX}image-build"
    job |= {"ID": name, "Name": name}
    for group in job["TaskGroups"]:
        for task in group["Tasks"]:
            # Vault knows the job image-build only: here nothing may need it.
            task["Env"] |= {"NBS_GIT_HOSTS": ",".join(hosts), "NBS_PULL_CREDENTIALS_PATH": ""}
    builds.nomad.post("/v1/jobs", json={"Job": job}).raise_for_status()
    try:
        yield name
    finally:
        builds.nomad.delete(f"/v1/job/{name}", params={"purge": "true"})


def test_the_runner_holds_to_the_servers_too_for_submodules_as_well(builds: Builds) -> None:
    inner = builds.repository({"inside": "from the submodule\n"}, private=False)
    middle = builds.repository({"middle": "x"}, private=False)
    deep = middle.push({"middle": "y"}, submodules={"in ner": f"{inner.http_url}@{inner.commit}"})
    host = inner.http_url.split("/")[2]
    elsewhere = inner.http_url.replace("127.0.0.1", "localhost")
    assert elsewhere != inner.http_url
    bad = middle.push({"middle": "z"}, submodules={"sub": f"{elsewhere}@{inner.commit}"})
    files = {"Dockerfile": 'FROM scratch\nCOPY ["sub/in ner/inside", "/"]\n'}
    found = {}
    no_secrets = {"git_credentials_path": None, "registry_credentials_path": None}
    with allowing(builds, host) as job:
        for what, commit in (("allowed", deep), ("forbidden", bad)):
            outer = builds.repository(files, private=False)
            outer.push(files, submodules={"sub": f"{middle.http_url}@{commit}"})
            found[what] = builds.dispatch(
                builds.request(
                    outer,
                    submodules=True,
                    **no_secrets,
                ),
                job,
            )
        found["past"] = builds.dispatch(
            builds.request(
                builds.dockerfile(),
                repo_url="http://localhost:1/x",
                **no_secrets,
            ),
            job,
        )
        outcomes = {}
        for what, child in found.items():
            allocation = builds.await_end(child)
            text = builds.file(allocation["ID"], f"finish/local/{OUTCOME_FILE}")
            outcomes[what] = json.loads(text)
    assert outcomes["allowed"]["failure"]["phase"] == "publish", outcomes["allowed"]["failure"]
    for what in ("forbidden", "past"):
        assert outcomes[what]["failure"]["reason"] == "GitHostNotAllowed", outcomes[what]
        assert "localhost" in outcomes[what]["failure"]["message"]


@pytest.fixture
def full(cluster: Cluster, builds: Builds, tmp_path: Path) -> Iterator[Serving]:
    """A controller whose builds wait for ever, with limits for owners."""
    policies = {"few-*": {"max_running": 3}, "queue-*": {"max_queued": 2}}
    settings = {"NBS_OWNER_POLICIES": json.dumps(policies), "NBS_NAME_PREFIX": PREFIX}
    with unplaceable(cluster, PREFIX), serving(cluster, tmp_path, settings) as one:
        yield one


def at_once(one: Serving, request: dict[str, Any], number: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: one.post("submitJob", request), range(number)))


@pytest.mark.parametrize(
    ("owner", "limit", "most"), [("few", "max_running", 3), ("queue", "max_queued", 2)]
)
def test_an_owner_has_as_many_builds_as_the_limit_says(
    builds: Builds, full: Serving, owner: str, limit: str, most: int
) -> None:
    request = builds.request(builds.dockerfile(), owner=f"{owner}-{uuid.uuid4().hex[:6]}")
    key = {"idempotency_key": uuid.uuid4().hex}
    first = full.post("submitJob", request | key).json()
    answers = at_once(full, request, 12)
    assert sorted(answer.status_code for answer in answers) == [200] * (most - 1) + [429] * (
        13 - most
    )
    refused = next(answer for answer in answers if answer.status_code == 429)
    told = refused.json()
    assert told["name"] == "too_many_builds"
    assert told["retryable"]
    assert int(refused.headers["retry-after"]) > 0
    assert f"0 running and {most} queued" in told["error"]
    assert f"{limit} is {most}" in told["error"]
    # A repeat adds no build; others have room; an end makes room.
    repeat = full.post("submitJob", request | key)
    assert repeat.json() == first | {"created": False}
    new_key = request | {"idempotency_key": uuid.uuid4().hex}
    assert full.post("submitJob", new_key).status_code == 429
    other = request | {"owner": f"{owner}-{uuid.uuid4().hex[:6]}"}
    assert full.post("submitJob", other).status_code == 200
    assert full.post("submitJob", request | {"owner": "somebody"}).status_code == 200
    assert full.post("killJob", {"job_id": first["job_id"]}).json()["success"]
    assert sorted(answer.status_code for answer in at_once(full, request, 3)) == [200, 429, 429]


def test_running_builds_count_after_a_restart_of_the_controller(
    cluster: Cluster, builds: Builds, tmp_path: Path
) -> None:
    owner = f"one-{uuid.uuid4().hex[:6]}"
    settings = {"NBS_OWNER_POLICIES": json.dumps({"one-*": {"max_running": 1}})}
    request = builds.request(builds.dockerfile("RUN sleep 60"), owner=owner)
    with serving(cluster, tmp_path, settings) as one:
        job_id = one.post("submitJob", request).json()["job_id"]
    eventually("it runs", lambda: builds.status(job_id)["status"] == "BUILDING")
    with serving(cluster, tmp_path, settings) as one:
        refused = one.post("submitJob", request)
        assert refused.status_code == 429
        assert "1 running and 0 queued" in refused.json()["error"]
        one.post("killJob", {"job_id": job_id})
        assert one.post("submitJob", request).status_code == 200


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "0", "10.255.255.1"])
def test_a_network_is_not_served_without_credentials_by_accident(
    cluster: Cluster, tmp_path: Path, bind: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller", "serve"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            **cluster.env(),
            "NBS_BIND": bind,
            "NBS_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    for word in ("auth_mode", "bind", "allow_anonymous"):
        assert word in done.stderr


def test_a_network_is_served_where_the_operator_says_so(
    cluster: Cluster, tmp_path: Path, issuer: Issuer
) -> None:
    for settings in ({"NBS_ALLOW_ANONYMOUS": "true"}, settings_of(issuer)):
        with serving(cluster, tmp_path, {**settings, "NBS_BIND": "0.0.0.0"}) as one:
            assert httpx.get(f"{one.address}/ready").status_code == 200
