"""Hostile code: each attack ends in a refusal or a named failure, and nothing is left of it.

What a RUN step or a test command can try from where it runs, it tries. What it could only do after
it had broken out is done for it: files are planted into the allocation's directory, as the user of
the tasks, while the test runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, cli, eventually, nomad_job_id, process_of
from listening import Metadata

# Planted by the user of the tasks; `alloc` is the allocation's directory.
_PLANT = """
import json, os, sys
from pathlib import Path
alloc = Path(sys.argv[1])
nbs = alloc / "alloc/data/nbs"
logs = nbs / "logs"
jwt = "publish/secrets/nomad_vault.jwt"
def change(name, to=None, **fields):
    result = json.loads((nbs / f"{name}.json").read_text()) | fields
    (nbs / f"{to or name}.json").write_text(json.dumps(result))
"""
MARK = "planted-by-the-attacker"


def plant(builds: Builds, alloc_id: str, code: str) -> None:
    """Run Python as the user of the tasks, on an allocation's directory."""
    done = subprocess.run(
        [
            "/usr/bin/env",
            "python3",
            "-I",
            "-c",
            _PLANT + code.replace("MARK", MARK),
            builds.cluster.state.allocations / alloc_id,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **builds.cluster.task_account.popen_arguments(),
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def during_the_test(builds: Builds) -> Iterator[tuple[dict[str, Any], str, str]]:
    """A build whose test waits: its request, job_id and allocation. Afterwards the test goes on."""
    token = f"waits-{uuid.uuid4().hex}"
    request = builds.request(
        builds.dockerfile("RUN true"),
        test_commands=[f"echo {token}; trap 'exit 0' USR1; while true; do sleep 0.05; done"],
    )
    job_id = builds.submit(request)
    shell = f"/bin/sh\0-c\0echo {token};".encode()
    process = eventually("the test runs", lambda: process_of(shell), 20)
    allocation = builds.allocation(nomad_job_id(job_id))
    assert allocation is not None
    try:
        yield request, job_id, allocation["ID"]
    finally:
        os.kill(process, signal.SIGUSR1)


def assert_healthy(builds: Builds, alloc_id: str) -> None:
    """Nothing of the attack is left on the node, and the next build is like any other."""
    builds.assert_clean(alloc_id)
    builds.run(builds.request(builds.dockerfile("RUN true"), test_commands=["true"]), "SUCCEEDED")


PLANTED = {
    "log linked to a secret": "(logs / 'test.log').unlink();"
    " os.symlink(f'../../../../{jwt}', logs / 'test.log')",
    "log of a later phase": "os.symlink('/etc/passwd', logs / 'publish.log')",
    "log of a later phase as a file": "(logs / 'publish.log').write_text('MARK')",
    "log as a second name": "os.link(nbs / 'build.json', logs / 'other')",
    "logs elsewhere": "logs.rename(nbs / 'old'); os.symlink('/tmp', logs)",
    "results elsewhere": "nbs.rename(nbs.with_name('old')); os.symlink('/tmp', nbs)",
    "all elsewhere": "nbs.parent.rename(alloc / 'alloc/old'); os.symlink('/tmp', nbs.parent)",
    "result as a link": "(nbs / 'build.json').rename(nbs / 'x');"
    " os.symlink('x', nbs / 'build.json')",
    "result as a FIFO": "(nbs / 'build.json').unlink(); os.mkfifo(nbs / 'build.json')",
    "result as a directory": "(nbs / 'publish.json').mkdir(); (nbs / 'publish.json/x').mkdir()",
    "result without end": "os.truncate(nbs / 'build.json', 1 << 40)",
    "result of other shape": "change('build', steps=5, started_at='never')",
    "result with a command line": "change('build', image_id='--help')",
    "result of another allocation": "change('build', alloc_id='0' * 36)",
    "result deeply nested": "(nbs / 'build.json').write_text('[' * 200_000)",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", PLANTED)
def test_what_is_planted_for_publish_is_refused(builds: Builds, how: str) -> None:
    with during_the_test(builds) as (request, job_id, alloc_id):
        plant(builds, alloc_id, PLANTED[how])
        read_meanwhile = builds.text(job_id)
    failure = builds.await_status(job_id, "FAILED")["failure"]
    assert failure["reason"] == "TamperedResult", failure
    assert builds.tags(request) == []
    builds.await_end(nomad_job_id(job_id))
    builds.assert_clean(alloc_id)
    for text in (read_meanwhile, builds.text(job_id), str(failure)):
        assert "root:" not in text
        assert "eyJ" not in text


def test_success_cannot_be_planted(builds: Builds) -> None:
    """Good results for all phases, and then the test fails: its exit code is what counts."""
    with during_the_test(builds) as (request, job_id, alloc_id):
        plant(
            builds,
            alloc_id,
            "change('build', phase='test', to='test', status='succeeded'); change('build',"
            " phase='publish', to='publish', status='succeeded', digest='sha256:' + '0' * 64);"
            " (nbs / 'test.json').chmod(0o444); nbs.chmod(0o555)",
        )
        runner = json.loads(builds.nomad.get(f"/v1/client/allocation/{alloc_id}/stats").text)
        pids = [int(pid) for pid in runner["Tasks"]["test"]["Pids"] or {}]
        for pid in pids:
            with contextlib.suppress(OSError):
                if b"nbs-task" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
    status = builds.await_status(job_id, "FAILED")
    assert status["failure"]["reason"] in ("TamperedResult", "InternalError"), status
    assert builds.tags(request) == []


def test_a_link_among_the_logs_moves_no_secret(builds: Builds) -> None:
    """Nomad's own file API follows it into another task's secrets; the service does not."""
    with during_the_test(builds) as (_, job_id, alloc_id):
        plant(
            builds,
            alloc_id,
            "(alloc / 'build/secrets/planted').write_text('MARK\\n' * 9);"
            "(logs / 'test.log').unlink();"
            "os.symlink('../../../../build/secrets/planted', logs / 'test.log')",
        )
        found = builds.file(alloc_id, "alloc/data/nbs/logs/test.log")
        assert MARK in found, "Nomad does not follow links any more: say so in nomad_files"
        assert MARK not in builds.text(job_id)
        searched = builds.http.post("/mcp/getLogs", json={"job_id": job_id, "search": "."})
        assert searched.status_code == 200, searched.text
        assert MARK not in searched.text


def test_what_code_in_a_build_can_reach(builds: Builds, metadata: Metadata) -> None:
    """One attempt after the other, in a RUN step and in a test: each must fail."""
    state = builds.cluster.state
    port = builds.cluster.nomad.address.rpartition(":")[2]
    vault = builds.cluster.vault.address.rpartition(":")[2]
    control = "ls /proc/self/root/attack"
    attempts = [
        control,
        f"ls {state.allocations}",
        f"ls {state.storage}",
        f"ls /proc/[0-9]*/root{state.allocations} 2>/dev/null",
        f"cat /proc/[0-9]*/cwd/../../../*/lock {state.storage}/*/lock",
        "env | grep -E 'NOMAD_|VAULT_|CONSUL_|NBS_'",
        "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -E 'NOMAD_|VAULT_|NBS_'",
        "find / -xdev '(' -name api.sock -o -name '*.jwt' -o -name request.json ')' | grep .",
        "ls -d /proc/[0-9]*/fd/* 2>/dev/null | xargs -n1 readlink | grep -E 'nbs/logs|secrets'",
        "mount -t tmpfs none /mnt",
        "mount --bind /proc/1/root /mnt",
        "mount -t proc none /mnt",
        "mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk",
        "nsenter -t 1 -m -- true",
        "unshare -m true && unshare -m mount -t tmpfs none /mnt",
        "chroot /proc/1/root true",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sysrq-trigger",
        "echo -1000 > /proc/self/oom_score_adj",
        "find /sys/fs/cgroup -name tasks | grep . && echo 0 > /sys/fs/cgroup/memory/tasks",
        f"timeout 2 nc 127.0.0.1 {port} </dev/null",
        f"timeout 2 nc 127.0.0.1 {vault} </dev/null",
        f"! {{ {metadata.closed}; }}",
        'hostname taken-over && test "$(cat /etc/hostname)" = taken-over',
    ]
    script = "".join(
        f"if ( {one} ) >/tmp/said 2>&1; then echo REACHED: {number}; head -3 /tmp/said; fi\n"
        for number, one in enumerate(attempts)
    )
    repository = builds.repository(
        {
            "Dockerfile": f"FROM {builds.cluster.base_image}\nCOPY attack /\nRUN sh /attack\n",
            "attack": script + "echo all tried\n",
        }
    )
    request = builds.request(repository, test_commands=["sh /attack"])
    status = builds.run(request, "SUCCEEDED")
    text = builds.text(status["job_id"])
    assert text.count("all tried") == 2
    reached = {attempts[int(found)] for found in re.findall(r"REACHED: (\d+)", text)}
    assert reached == {control}, text
    assert Path("/proc/sys/kernel/hostname").read_text().strip() != "taken-over"


@pytest.mark.parametrize(
    "lines",
    [
        ("COPY --from={oci} / /stolen",),
        ("ARG X={oci}", "COPY --from=$X / /stolen"),
        ("ARG X=oci", "COPY --from=$X:{path} / /stolen"),
        ("RUN --mount=type=bind,from={oci},target=/m ls /m",),
        ("ARG X={oci}", "RUN --mount=type=bind,from=${{X}},target=/m ls /m"),
        ("RUN echo '<<EOF'", "ARG X={oci}", "COPY --from=$X / /stolen"),
        ("RUN --mount=type=bind,from=/,target=/m ls /m",),
    ],
)
def test_no_image_is_opened_on_the_node(builds: Builds, lines: tuple[str, ...]) -> None:
    """Buildah takes `oci:/path` for an image; a Dockerfile may not, however it is written."""
    path = builds.cluster.state.root / "planted-oci"
    if not (path / "index.json").exists():
        registry = builds.cluster.registry
        cli(
            builds.cluster,
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            f"--src-creds={registry.username}:{registry.password}",
            f"docker://{builds.cluster.base_image}",
            f"oci:{path}",
        ).check_returncode()
        subprocess.run(["chmod", "-R", "a+rX", path], check=True)
    repository = builds.dockerfile(*(one.format(oci=f"oci:{path}", path=path) for one in lines))
    failure = builds.run(builds.request(repository), "FAILED")["failure"]
    # Where our reading of the file is led astray, Buildah itself refuses the transport.
    assert failure["reason"] in ("DockerfileRefused", "DockerfileInvalid"), failure


@pytest.mark.slow
def test_caches_of_another_owner_are_out_of_reach(builds: Builds) -> None:
    mount = "RUN --mount=type=cache,id={},target=/c "
    first = builds.request(builds.dockerfile(mount.format("shared") + f"echo {MARK} > /c/mine"))
    builds.run(first, "SUCCEEDED")
    again = builds.dockerfile(mount.format("shared") + f"grep {MARK} /c/mine")
    builds.run(builds.request(again, owner=first["owner"]), "SUCCEEDED")
    owner = hashlib.sha256(str(first["owner"]).encode()).hexdigest()[:16]
    ids = ("shared", f"../../../{owner}/cache/shared", f"{builds.cluster.state.storage}/{owner}")
    tries = [mount.format(one) + 'test -z "$(ls -A /c)"' for one in (*ids, "..", "/", ".")]
    builds.run(builds.request(builds.dockerfile(*tries)), "SUCCEEDED")
    builds.run(
        builds.request(
            builds.dockerfile("RUN --mount=type=bind,source=../../../..,target=/c ls /c | wc -l"),
            test_commands=["true"],
        ),
        "SUCCEEDED",
    )
