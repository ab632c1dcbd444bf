"""The embedded cluster itself: restarts keep its state, `stop` leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import skopeo, teardown
from cluster.cluster import Cluster
from cluster.errors import ClusterError
from cluster.paths import throw_away_state_directory
from cluster.waiting import wait_for


def git(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-c", "credential.helper=", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0",
             **environ},
    )  # fmt: skip


@pytest.fixture
def throw_away() -> Iterator[Cluster]:
    """A cluster of the test's own, which it may break."""
    root = throw_away_state_directory()
    try:
        yield Cluster.start(root)
    finally:
        if root.exists():
            Cluster(root).stop()


def test_the_private_git_server_wants_its_password_and_the_public_one_none(
    cluster: Cluster,
) -> None:
    private = cluster.create_git_repository("wants-login", {"a": "b"})
    public = cluster.create_git_repository("wants-none", {"a": "b"}, private=False)
    login = f"{cluster.git_http.username}:{cluster.git_http.password}@"

    assert git("ls-remote", private.http_url).returncode != 0
    assert git("ls-remote", private.http_url.replace("://", f"://{login}")).returncode == 0
    assert git("ls-remote", public.http_url).returncode == 0
    wrong = private.http_url.replace("://", f"://{cluster.git_http.username}:wrong@")
    assert git("ls-remote", wrong).returncode != 0


def test_the_ssh_server_proves_its_key_and_lets_fetch_only(
    cluster: Cluster, tmp_path: Path
) -> None:
    repository = cluster.create_git_repository("over-ssh", {"a": "b"})
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(cluster.git_ssh.known_hosts)
    ssh = (
        f"ssh -F /dev/null -i {cluster.git_ssh.client_key} -o IdentitiesOnly=yes"
        f" -o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes -o BatchMode=yes"
    )

    listed = git("ls-remote", repository.ssh_url, "refs/heads/main", GIT_SSH_COMMAND=ssh)
    pushed = git(
        f"--git-dir={repository.bare}", "push", repository.ssh_url, "main:other",
        GIT_SSH_COMMAND=ssh,
    )  # fmt: skip
    shell = subprocess.run(
        [*ssh.split(), "-p", str(cluster.git_ssh.port),
         f"{cluster.git_ssh.account.name}@127.0.0.1", "id"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert listed.stdout.split()[0] == repository.commit
    assert pushed.returncode != 0 and "fetch only" in pushed.stderr
    assert shell.returncode != 0 and "fetch only" in shell.stderr


def test_the_registry_refuses_a_wrong_password(cluster: Cluster) -> None:
    wrong = skopeo.Credentials(cluster.registry.host, cluster.registry.username, "wrong")

    with pytest.raises(ClusterError, match=r"authentication required|unauthorized"):
        skopeo.inspect(wrong, "base/busybox", "debian")


def test_the_base_image_runs_without_network(cluster: Cluster) -> None:
    result = cluster.buildah.run_image(
        cluster.registry.credentials, cluster.base_image, ["sh", "-c", "ip -o link | wc -l; exit 7"]
    )

    assert result.exit_code == 7
    assert result.output.splitlines()[0].strip() == "1"


def test_the_shell_exports_make_the_programs_work_at_once(cluster: Cluster) -> None:
    done = subprocess.run(
        [
            "sh", "-ec",
            'eval "$EXPORTS"; nomad node status; vault kv get -format=json'
            " secret/nomad-build-service/registry/demo; consul catalog services;"
            " nomad-pack version",
        ],
        capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent",
             "EXPORTS": cluster.shell_exports()},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "ready" in done.stdout and '"username": "builder"' in done.stdout


@pytest.mark.slow
def test_a_restart_of_every_server_keeps_its_data(throw_away: Cluster) -> None:
    cluster = throw_away
    repository = cluster.create_git_repository("kept", {"a": "b"})
    cluster.vault_put("nomad-build-service/git/kept", {"username": "u", "password": "p"})
    subprocess.run(
        [str(cluster.state.bin / "consul"), "kv", "put", "kept", "yes"],
        env=cluster.env(), check=True, capture_output=True,
    )  # fmt: skip
    job = {
        "ID": "kept", "Name": "kept", "Type": "service", "Datacenters": ["*"],
        "TaskGroups": [{"Name": "g", "Tasks": [{
            "Name": "t", "Driver": "raw_exec", "User": cluster.task_user,
            "Config": {"command": "/bin/sleep", "args": ["600"]},
            "Resources": {"CPU": 50, "MemoryMB": 32},
        }]}],
    }  # fmt: skip
    cluster.nomad.client().job.register_job("kept", {"Job": job})
    before = wait_for("the job runs", lambda: running(cluster), seconds=30)
    addresses = [cluster.consul.address, cluster.vault.address, cluster.nomad.address]

    for server in cluster.servers:
        server.kill()
    again = Cluster.start(cluster.state.root)

    assert [again.consul.address, again.vault.address, again.nomad.address] == addresses
    assert wait_for("the job runs on", lambda: running(again), seconds=30) == before
    key = again.consul.get("kv/kept")
    assert key[0]["Value"] == "eWVz"
    secret = again.vault.client().secrets.kv.v2.read_secret_version(
        "nomad-build-service/git/kept", raise_on_deleted_version=True
    )
    assert secret["data"]["data"] == {"username": "u", "password": "p"}
    login = f"{again.git_http.username}:{again.git_http.password}@"
    listed = git("ls-remote", repository.http_url.replace("://", f"://{login}"), "HEAD")
    assert listed.stdout.split()[0] == repository.commit
    assert "debian" in again.registry.tags("base/busybox")


def running(cluster: Cluster) -> list[tuple[str, str]]:
    """The running allocations of job `kept`, with the time their task started."""
    return [
        (allocation["ID"], allocation["TaskStates"]["t"]["StartedAt"])
        for allocation in cluster.nomad.get("job/kept/allocations")
        if allocation["ClientStatus"] == "running"
    ]


@pytest.mark.slow
def test_stop_leaves_no_process_no_mount_no_file_while_a_build_runs(throw_away: Cluster) -> None:
    cluster = throw_away
    root = cluster.state.root
    repository = cluster.create_git_repository(
        "endless", {"Dockerfile": f"FROM {cluster.base_image}\nRUN echo begun && sleep 600\n"}
    )
    cluster.pack.deploy()
    request = {
        "owner": "test", "repo_url": repository.http_url,
        "git_credentials_path": "secret/nomad-build-service/git/demo",
        "registry_url": f"{cluster.registry.host}/test/endless",
        "registry_credentials_path": "secret/nomad-build-service/registry/demo",
    }  # fmt: skip
    file = root / "request.json"
    file.write_text(json.dumps(request))
    subprocess.run(
        [str(cluster.state.bin / "nomad"), "job", "dispatch", "-detach",
         "-meta", "pack.deployment_name=", "image-build", str(file)],
        env=cluster.env(), check=True, capture_output=True,
    )  # fmt: skip
    wait_for(
        "the build's RUN step has begun",
        lambda: any(
            " begun\n" in log.read_text()
            for log in cluster.state.allocations.glob("*/alloc/data/nbs/logs/build.log")
        ),
        seconds=60,
    )
    assert processes_naming(root)

    cluster.stop()

    assert processes_naming(root) == []
    assert teardown.mounts_below(root) == []
    assert not root.exists()


def processes_naming(root: Path) -> list[str]:
    """The command lines of processes that mention the state directory, ours excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(root) in line:
            found.append(line)
    return found


def test_attaching_where_nothing_runs_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="scripts/demo starts one"):
        Cluster.attach(tmp_path / "nowhere")
