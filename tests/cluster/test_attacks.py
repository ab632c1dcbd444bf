"""Hostile code: each attack ends in a refusal or a named failure, and nothing is left of it.

What a RUN step or a test command can try from where it runs, it tries. What it could only do after
it had broken out is done for it: files are planted into the allocation's directory, as the user of
the tasks, while the test runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds, eventually, nomad_job_id

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
    process = eventually("the test runs", lambda: _process(shell), 20)
    allocation = builds.allocation(nomad_job_id(job_id))
    assert allocation is not None
    try:
        yield request, job_id, allocation["ID"]
    finally:
        os.kill(process, signal.SIGUSR1)


def _process(command: bytes) -> int | None:
    """The process whose command line begins so."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(command):
                return int(process.name)
    return None


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
        stream = builds.http.get("/mcp/searchLogs", params={"job_id": job_id, "pattern": MARK})
        assert MARK not in stream.text
