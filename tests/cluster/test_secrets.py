"""Credentials by workload identity: used, and found nowhere afterwards."""

from __future__ import annotations

import base64
import json

from builds import GIT_SSH, Builds, cli, nomad_job_id


def test_no_secret_value_in_anything_that_a_build_leaves(builds: Builds) -> None:
    cluster = builds.cluster
    secrets = _values(builds)
    repository = builds.dockerfile(
        "RUN env; cat /proc/self/environ; cat /proc/self/mountinfo; find / -name '*.jwt' || true",
        "COPY . /src",
    )
    requests = [
        builds.request(repository, test_commands=["env; cat /proc/1/environ || true"]),
        builds.request(repository, repo_url=repository.ssh_url, git_credentials_path=GIT_SSH),
    ]
    for request in requests:
        status = builds.run(request, "SUCCEEDED")
        child = nomad_job_id(status["job_id"])
        allocation = builds.await_end(child)
        said = [
            json.dumps(builds.job(child)),
            json.dumps(allocation),
            json.dumps(status),
            builds.text(status["job_id"]),
            json.dumps(builds.config(request, "v1")),
            builds.file(allocation["ID"], "finish/local/outcome.json"),
        ]
        payload = builds.job(child)["Payload"]
        said.append(base64.b64decode(payload).decode("latin-1"))
        for task in ("build", "test", "publish", "finish"):
            for stream in ("stdout", "stderr"):
                said.append(
                    builds.nomad.get(
                        f"/v1/client/fs/logs/{allocation['ID']}",
                        params={"task": task, "type": stream, "plain": "true"},
                    ).text
                )
        said.append(
            builds.run_image(
                f"{status['image']}@{status['digest']}",
                "sh",
                "-c",
                "find / -xdev -type f -size -1000 -exec cat {} + | tr -cd '[:print:]\\n' || true",
            )
        )
        everything = "\n".join(said)
        found = [
            name
            for name, value in secrets.items()
            if value in everything
            or base64.b64encode(value.encode()).decode().rstrip("=") in everything
        ]
        assert found == []
        _assert_task_directories_hold_no(builds, allocation["ID"], secrets)
    history = cli(cluster, "consul", "kv", "export", "nomad-build-service/")
    entries = json.loads(history.stdout or "[]")
    stored = "\n".join(
        base64.b64decode(entry["value"]).decode("utf-8", "replace") for entry in entries
    )
    assert [name for name, value in secrets.items() if value in stored] == []


def test_build_may_not_read_the_push_credential(builds: Builds) -> None:
    child = builds.dispatch(
        builds.request(
            builds.dockerfile("RUN true"),
            git_credentials_path="secret/nomad-build-service/registry/demo",
        )
    )
    allocation = builds.await_end(child)
    outcome = json.loads(builds.file(allocation["ID"], "finish/local/outcome.json"))
    assert outcome["failure"]["reason"] == "SecretRefused"


def _values(builds: Builds) -> dict[str, str]:
    client = builds.cluster.vault.client()
    found: dict[str, str] = {}
    for path in ("git/demo", "git/demo-ssh", "registry/demo", "pull/base"):
        fields = client.secrets.kv.v2.read_secret_version(
            f"nomad-build-service/{path}", raise_on_deleted_version=True
        )["data"]["data"]
        for name, value in fields.items():
            if name == "password":
                found[f"{path}:{name}"] = value
            elif name == "ssh_key":
                found[f"{path}:{name}"] = value.splitlines()[2]
    assert len(found) == 4
    return found


def _assert_task_directories_hold_no(
    builds: Builds, alloc_id: str, secrets: dict[str, str]
) -> None:
    directory = builds.cluster.state.allocations / alloc_id
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert [name for name, value in secrets.items() if value.encode() in content] == [], (
                path
            )
            assert path.name != "nomad_vault.jwt", path
