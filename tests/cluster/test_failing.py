"""What is said of builds that fail: reason, line, command, in at least 95 of 100 the right ones."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from builds import ENDED, Builds
from failing import FAILING, Failing

from cluster.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# An ELF header of a program for 64-bit ARM: enough for the kernel to say that it is none of ours.
_SECRETS = "nomad-build-service/build/failing"
_SECRET = "word-of-a-secret"
_ARM = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00\x01" + bytes(43) + bytes(56)


@pytest.fixture(scope="module")
def dead() -> Iterator[str]:
    """An address at which nobody listens, and nobody will."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def failures(cluster: Cluster, controller_address: str, dead: str) -> dict[str, dict[str, Any]]:
    """The status of every build; they run side by side."""
    builds = Builds(cluster, cluster.pack.wait_healthy())
    cluster.vault_put(_SECRETS, {"token": f"first line\n{_SECRET}\n"})
    words = {
        "@BASE@": cluster.base_image,
        "@REGISTRY@": cluster.registry.host,
        "@DEAD@": dead,
        "@SECRETS@": f"secret/{_SECRETS}",
        "@SECRET@": _SECRET,
    }
    job_ids = {}
    for case in FAILING:
        files: dict[str, str | bytes] = {
            name: _ARM if text == "ARM" else _filled(text, words)
            for name, text in case.files.items()
        }
        if case.dockerfile is not None:
            files["Dockerfile"] = _filled(case.dockerfile, words)
        repository = builds.repository(files or {"README": "nothing to build"})
        asked = json.loads(_filled(json.dumps(case.request), words))
        owner = f"failing-{uuid.uuid4().hex[:8]}"
        job_ids[case.name] = builds.submit(builds.request(repository, owner=owner, **asked))
    return {
        name: builds.await_status(job_id, *ENDED, seconds=300) for name, job_id in job_ids.items()
    }


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_the_failure_is_named(failures: dict[str, dict[str, Any]], case: Failing) -> None:
    status = failures[case.name]
    assert status["status"] == "FAILED", status
    failure = status["failure"]
    assert (failure["phase"], failure["reason"]) == (case.phase, case.reason), failure
    assert failure["message"].strip()
    assert failure["hint"]
    assert case.hint in failure["hint"], failure["hint"]
    assert case.says in failure["message"], failure["message"]
    if case.line is not None:
        assert failure["dockerfile_line"] == case.line, failure
    if case.step is not None:
        assert (failure["step"] or "").startswith(case.step), failure
    if case.command is not None:
        assert failure["command"] == case.command, failure
    if case.exit_code is not None:
        assert failure["exit_code"] == case.exit_code, failure
    if case.signal is not None:
        assert failure["signal"] == case.signal, failure


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(FAILING) >= 40
    assert len({case.name for case in FAILING}) == len(FAILING)


def test_run_failures_show_the_authors_lines(failures: dict[str, dict[str, Any]]) -> None:
    failure = failures["run-continued"]["failure"]
    assert failure["dockerfile_text"] == (
        "RUN echo one && \\\n    # a comment\n    frob two && \\\n    echo three"
    )
    assert any("frob: not found" in line for line in failure["excerpt"])
    assert failures["make"]["failure"]["excerpt"] == [
        "src/main.c:3:5: error: unknown type name foo",
        "make: *** [Makefile:2: all] Error 1",
    ]
    assert "public network" in failures["run-no-network"]["failure"]["hint"]


def _filled(text: str, words: dict[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(name, word)
    return text
