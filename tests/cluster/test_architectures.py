"""An image of several architectures from an allocation for each, published as one index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import foreign_base
import httpx
import pytest
from builds import Builds, cli, eventually, image_path, nomad_job_id
from controllers import Serving, serving

from cluster import skopeo
from cluster.cluster import Cluster
from cluster.pack import PACK
from controller.contract import image_index

pytestmark = pytest.mark.slow
BOTH = ["linux/amd64", "linux/arm64"]
CLASS = {"cpu": 200, "memory": 256, "memory_max": 0, "disk": 300, "node_pool": "", "arch": "amd64"}
CLASSES = {
    "default": CLASS | {"arch": ""},
    "intel": CLASS,
    "arm": CLASS | {"emulates": ["arm64"]},
}

SETTINGS = {"NBS_BUILD_CLASSES": json.dumps(CLASSES)}


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A controller with a class for each architecture; the pack's own jobs for them."""
    target = tmp_path_factory.mktemp("rendered")
    classes = {name: one | {"constraints": []} for name, one in CLASSES.items()}
    variables = cluster.pack.variables() | {"build_classes": classes}
    file = cluster.pack.variables_file(variables, "architectures")
    cluster.pack.run("render", str(PACK), "--name", "t", "-f", str(file), "--to-dir", str(target))
    rendered = sorted(target.rglob("image_build_class_*.nomad"))
    for path in rendered:
        if path.read_text().strip():
            done = cli(cluster, "nomad", "job", "run", str(path))
            assert done.returncode == 0, done.stdout + done.stderr
    with serving(cluster, tmp_path_factory.mktemp("controller"), SETTINGS) as one:
        yield one
    for name in ("intel", "arm"):
        cli(cluster, "nomad", "job", "stop", "-purge", f"image-build-{name}")


@pytest.fixture
def builds(cluster: Cluster, served: Serving) -> Builds:
    return Builds(cluster, served.address)


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> str:
    return foreign_base.make(cluster)


def test_each_architecture_has_its_allocation_and_the_last_publishes_the_index(
    builds: Builds, base: str
) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN uname -m > /machine\n"})
    request = builds.request(
        repository,
        platforms=BOTH,
        test={"commands": ["uname -m; cat /machine"]},
        additional_repositories=[
            {
                "image": f"{builds.cluster.registry.host}/mirror-{repository.commit[:10]}",
                "registry_credentials_path": "secret/nomad-build-service/registry/demo",
            }
        ],
    )
    answer = builds.http.post("/mcp/submitJob", json=request).json()
    assert [one["platforms"] for one in answer["platform_jobs"]] == [[one] for one in BOTH]
    status = builds.await_status(answer["job_id"], "SUCCEEDED")
    assert {one["status"] for one in status["platform_jobs"]} == {"SUCCEEDED"}
    parts = [builds.status(one["job_id"]) for one in answer["platform_jobs"]]
    assert len({part["alloc_id"] for part in parts}) == 2
    assert status["job_id"] == answer["job_id"] == parts[0]["job_id"]
    for place in (status["image"], request["additional_repositories"][0]["image"]):
        index = _raw(builds, f"{place}@{status['digest']}")
        found = [
            f"{one['platform']['os']}/{one['platform']['architecture']}"
            for one in index["manifests"]
        ]
        assert found == BOTH
    assert builds.tags(request) == ["v1"]
    assert builds.digest(request, "v1") == status["digest"]
    assert len(status["references"]) == 2
    for part, machine in zip(parts, ("x86_64", "aarch64"), strict=True):
        said = builds.logs(part["job_id"])["test"]
        assert said.count(machine) == 2, said
    assert [one["platform"] for one in status["commands"]] == BOTH
    assert {step["platform"] for step in status["steps"]} == set(BOTH)
    subjects = {
        one["digest"] for one in status["referrers"] if one["repository"] == status["image"]
    }
    assert len(subjects) >= 3, status["referrers"]  # provenance of both images and of the index
    for part in parts:
        builds.assert_clean(part["alloc_id"])


def test_waiting_for_it_ends_when_the_index_is_there(builds: Builds, base: str) -> None:
    repository = builds.repository(
        {"Dockerfile": f'FROM {base}\nRUN test "$(uname -m)" = x86_64 || sleep 3\n'}
    )
    job_id = builds.submit(builds.request(repository, platforms=BOTH))
    answer = builds.http.post("/mcp/waitForJob", json={"job_id": job_id, "timeout": 45}, timeout=60)
    found = answer.json()
    assert (found["status"], found["final"]) == ("SUCCEEDED", True), found
    assert found["references"]
    record = eventually("the record", lambda: _recorded(builds, job_id))
    assert record["digest"] == found["digest"]


def test_one_that_fails_fails_all_and_is_named(builds: Builds, base: str) -> None:
    repository = builds.repository(
        {
            "Dockerfile": f'FROM {base}\nRUN test "$(uname -m)" = x86_64 || echo error: no arm\\\n'
            '  && test "$(uname -m)" = x86_64\n'
        }
    )
    request = builds.request(repository, platforms=BOTH)
    status = builds.run(request, "FAILED")
    other = status["platform_jobs"][1]
    assert status["failure"]["reason"] == "RunFailed"
    assert status["failure"]["job_id"] == other["job_id"]
    assert "linux/arm64" in status["failure"]["message"]
    assert status["references"] == []
    assert "v1" not in builds.tags(request)
    told = builds.http.post("/mcp/getFailure", json={"job_id": status["job_id"]}).json()
    assert (told["reason"], told["dockerfile_line"]) == ("RunFailed", 2)
    assert any(
        "no arm" in line for line in told["excerpt"] + told["error_lines"] + told["log_tail"]
    )


@pytest.mark.parametrize(("fails", "stopped"), [("x86_64", 1), ("aarch64", 0)])
def test_where_one_fails_the_others_are_stopped(
    builds: Builds, base: str, fails: str, stopped: int
) -> None:
    repository = builds.repository(
        {"Dockerfile": f'FROM {base}\nRUN test "$(uname -m)" != {fails} && sleep 300\n'}
    )
    job_id = builds.submit(builds.request(repository, platforms=BOTH))
    status = builds.await_status(job_id, "FAILED", seconds=60)
    assert status["failure"]["reason"] == "RunFailed"
    # What answers for both is FAILED; the stopped one by itself is CANCELLED.
    one = status["platform_jobs"][stopped]["job_id"]
    eventually("it is stopped", lambda: builds.job(nomad_job_id(one))["Stop"])
    builds.await_status(status["platform_jobs"][1]["job_id"], ("FAILED", "CANCELLED")[stopped])
    rows = builds.http.post("/mcp/getHistory", json={"owner": status["config"]["owner"]}).json()
    assert {row["job_id"]: row.get("part") for row in rows["jobs"]} == {
        status["platform_jobs"][0]["job_id"]: None,
        status["platform_jobs"][1]["job_id"]: True,
    }


def test_the_end_of_one_is_kept_while_it_waits_for_another(builds: Builds, base: str) -> None:
    """Nomad forgets a job some hours after its submission, whatever another one does."""
    repository = builds.repository(
        {"Dockerfile": f'FROM {base}\nRUN test "$(uname -m)" = x86_64 || sleep 15\n'}
    )
    job_id = builds.submit(builds.request(repository, platforms=BOTH))
    status = builds.await_status(job_id, "PUBLISHING")
    builds.await_end(nomad_job_id(job_id))
    eventually("its end is kept", lambda: _kept(builds, f"waiting/{job_id}"))
    quoted = nomad_job_id(job_id).replace("/", "%2F")
    builds.nomad.delete(f"/v1/job/{quoted}", params={"purge": "true"}).raise_for_status()
    status = builds.status(job_id)
    assert status["status"] == "PUBLISHING"
    assert "linux/arm64" in status["message"]
    status = builds.await_status(job_id, "SUCCEEDED", seconds=120)
    assert status["references"]
    assert builds.tags(status["config"]) == ["v1"]
    record = eventually("the record", lambda: _recorded(builds, job_id), 60)
    assert record["digest"] == status["digest"]
    assert not _kept(builds, f"waiting/{job_id}")


def test_a_kill_stops_all(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN echo here; sleep 300\n"})
    job_id = builds.submit(builds.request(repository, platforms=BOTH))
    jobs = builds.status(job_id)["platform_jobs"]
    for one in jobs:
        builds.await_log(one["job_id"], "here")
    answer = builds.http.post("/mcp/killJob", json={"job_id": job_id})
    assert answer.json()["success"] is True
    for one in jobs:
        builds.await_status(one["job_id"], "CANCELLED")


def test_a_key_names_all_of_them(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH, idempotency_key="k")
    first, again = (builds.http.post("/mcp/submitJob", json=request).json() for _ in range(2))
    assert (first["created"], again["created"]) == (True, False)
    assert _ids(again) == _ids(first)
    other = builds.http.post("/mcp/submitJob", json=request | {"image_tags": ["other"]})
    assert other.status_code == 409
    status = builds.await_status(first["job_id"], "SUCCEEDED")
    again = builds.http.post(
        "/mcp/rerunPhase", json={"job_id": status["job_id"], "phase": "publish"}
    )
    rerun = builds.await_status(again.json()["job_id"], "SUCCEEDED")
    assert rerun["digest"] == status["digest"]


def test_what_cannot_all_be_dispatched_leaves_nothing(builds: Builds, base: str) -> None:
    """Symptom: a repeat of the key found the part that was stopped, and was doomed by it."""
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH, idempotency_key="k")
    parent = builds.job("image-build-intel")  # of the first, which is dispatched last
    builds.nomad.delete("/v1/job/image-build-intel").raise_for_status()
    try:
        refused = builds.http.post("/mcp/submitJob", json=request)
        assert refused.status_code == 503, refused.text
    finally:
        builds.nomad.post("/v1/jobs", json={"Job": parent | {"Stop": False}}).raise_for_status()
    rows = builds.http.post("/mcp/getHistory", json={"owner": request["owner"]}).json()
    assert rows["jobs"] == []
    answer = builds.http.post("/mcp/submitJob", json=request).json()
    assert answer["created"] is True
    builds.await_status(answer["job_id"], "SUCCEEDED")


def test_places_are_taken_for_all_of_them_or_none(
    cluster: Cluster, base: str, tmp_path: Path, served: Serving
) -> None:
    limits = {"*": {"max_running": 1}}
    settings = SETTINGS | {"NBS_OWNER_POLICIES": json.dumps(limits)}
    with serving(cluster, tmp_path, settings) as one:
        builds = Builds(cluster, one.address)
        repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
        request = builds.request(repository, platforms=BOTH)
        refused = builds.http.post("/mcp/submitJob", json=request)
        assert refused.status_code == 429
        assert "its platforms make 2 of this request" in refused.text
        assert "fewer platforms" in refused.text
        rows = builds.http.post("/mcp/getHistory", json={"owner": request["owner"]}).json()
        assert rows["jobs"] == []


def test_a_note_of_somebody_else_does_not_count(builds: Builds, base: str) -> None:
    """Whoever can push to the repository can give any tag; without the id there is no seal."""
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH, git_ref=repository.commit)
    evil = builds.run(builds.request(builds.dockerfile("RUN echo evil > /evil")), "SUCCEEDED")
    index = {"id": repository.commit[:16], "platforms": BOTH[:1]}
    registry, path = builds.cluster.registry, image_path(request)
    credentials = registry.credentials
    skopeo.run(
        credentials,
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{evil['image']}@{evil['digest']}",
        f"docker://{registry.host}/{path}:evil",
    )
    auth = (registry.username, registry.password)
    manifest = httpx.get(
        f"{registry.address}/v2/{path}/manifests/{evil['digest']}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        auth=auth,
    )
    kind = manifest.headers["Content-Type"]
    note = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": kind, "digest": evil["digest"], "size": len(manifest.content)}],
        "annotations": {"io.nomad-build-service.image-index.seal": "0" * 64},
    }
    for content in (json.dumps(note).encode(), manifest.content):
        put = httpx.put(
            f"{registry.address}/v2/{path}/manifests/"
            + image_index.tag(index, repository.commit, BOTH[1]),
            content=content,
            headers={"Content-Type": json.loads(content)["mediaType"]},
            auth=auth,
        )
        assert put.status_code == 201, put.text
        child = builds.dispatch(request | {"image_index": index}, "image-build-intel")
        builds.await_end(child)
        assert builds.status(child)["references"] == []
        assert "is not by a build of this image" in builds.text(child)
    assert "v1" not in builds.tags(request)


def test_equal_requests_of_a_commit_share_all_of_them(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN echo here; sleep 300\n"})
    request = builds.request(repository, platforms=BOTH, git_ref=repository.commit)

    def submit(number: int) -> dict[str, Any]:
        sent = request | {"priority": 40 + number}
        answer = builds.http.post("/mcp/submitJob", json=sent)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(submit, range(6)))
    assert sorted(one["created"] for one in answers) == [False] * 5 + [True]
    assert all(one["joined"] != one["created"] for one in answers)
    assert len({tuple(_ids(one)) for one in answers}) == 1
    for _ in range(2):  # what was stopped is not joined, whichever of them was
        ids = _ids(answers[0])
        for one in ids:
            builds.await_log(one, "here")
        builds.http.post("/mcp/killJob", json={"job_id": ids[-1]})
        answers = [submit(0), submit(1)]
        assert [one["created"] for one in answers] == [True, False]
        assert _ids(answers[0]) == _ids(answers[1])
        assert not {*ids} & {*_ids(answers[0])}
        builds.await_status(ids[0], "CANCELLED")
        assert not any(one.endswith("arm64") for one in builds.tags(request))
    builds.http.post("/mcp/killJob", json={"job_id": answers[0]["job_id"]})


def test_builds_dispatched_by_hand_need_no_controller(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH)
    children = [
        builds.dispatch(
            request | {"image_index": {"id": repository.commit[:16], "platforms": [platform]}},
            f"image-build-{name}",
        )
        for platform, name in zip(BOTH, ("intel", "arm"), strict=True)
    ]
    for child in children:
        builds.await_end(child)
    assert builds.tags(request) == ["v1"]
    image = f"{request['registry_url']}/{request['image_name']}"
    assert len(_raw(builds, f"{image}:v1")["manifests"]) == 2


def test_a_branch_that_moves_meanwhile_gives_no_index(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH)
    index = {"id": repository.commit[:16], "platforms": BOTH[1:]}
    other = builds.dispatch(request | {"image_index": index}, "image-build-arm")
    builds.await_end(other)
    repository.push({"Dockerfile": f"FROM {base}\nRUN echo moved\n"})
    job_id = ".".join(("default", "image-build-arm", other.rpartition("dispatch-")[2]))
    first = {
        "id": index["id"],
        "platforms": BOTH[:1],
        "others": [{"job_id": job_id, "platforms": BOTH[1:]}],
    }
    child = builds.dispatch(request | {"image_index": first}, "image-build-intel")
    builds.await_end(child)
    status = builds.await_status(child, "FAILED")
    assert status["failure"]["reason"] == "CommitsDiffer"
    assert repository.commit[:12] in status["failure"]["message"]
    assert "v1" not in builds.tags(request)


def test_no_caller_may_name_other_builds(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), platforms=BOTH)
    given = request | {"image_index": {"id": "a" * 16, "platforms": BOTH[:1]}}
    answer = builds.http.post("/mcp/submitJob", json=given)
    assert answer.status_code == 422
    assert "image_index" in answer.text


def test_a_build_that_answers_for_itself_is_read_to_an_end(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), platforms=BOTH)
    other = builds.dispatch(
        request
        | {
            "owner": "somebody-else",
            "image_index": {"id": "b" * 16, "platforms": BOTH[:1]},
        },
        "image-build-intel",
    )
    job_id = ".".join(("default", "image-build-intel", other.rpartition("dispatch-")[2]))
    child = builds.dispatch(
        request
        | {
            "image_index": {
                "id": "c" * 16,
                "platforms": BOTH[:1],
                "others": [{"job_id": job_id, "platforms": BOTH[1:]}],
            }
        },
        "image-build-intel",
    )
    builds.await_end(child)
    status = builds.http.post("/mcp/getStatus", json={"job_id": child}).json()
    assert status["status"] == "FAILED"
    assert "removed" in status["failure"]["message"]  # of somebody else nothing is told


def test_a_check_names_the_classes(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"})
    request = builds.request(repository, platforms=BOTH)
    found = builds.http.post("/mcp/checkJob", json=request, timeout=60).json()
    assert found["ok"], found
    assert found["build_class"] == "intel and arm"


def _recorded(builds: Builds, job_id: str) -> dict[str, Any] | None:
    found = _kept(builds, f"history/{job_id}")
    return dict(found["build"]) if found else None


def _kept(builds: Builds, key: str) -> dict[str, Any] | None:
    raw = httpx.get(
        f"{builds.cluster.consul.address}/v1/kv/nomad-build-service/{key}?raw",
        headers=builds.cluster.consul.headers,
    )
    return dict(raw.json()) if raw.status_code == 200 else None


def _ids(answer: dict[str, Any]) -> list[str]:
    return [one["job_id"] for one in answer["platform_jobs"]]


def _raw(builds: Builds, reference: str) -> dict[str, Any]:
    credentials = builds.cluster.registry.credentials
    said = skopeo.run(
        credentials, "inspect", "--tls-verify=false", "--raw", f"docker://{reference}"
    )
    found: dict[str, Any] = json.loads(said)
    return found
