"""Fetching: which of Git's commands a silent server can be the reason of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.tasks import environment
from controller.tasks.context.git import Repository
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline
from controller.tasks.redaction import Redactor

_SLOW = """#!/bin/sh
case " $* " in *" {command} "*) sleep 4 ;; esac
exec {git} "$@"
"""


def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> PhaseFailed:
    """How a fetch from where nobody listens fails on a node that is slow at a command."""
    git = next(
        path for one in os.environ["PATH"].split(":") if (path := Path(one, "git")).is_file()
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(_SLOW.format(command=slow, git=git))
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    names = ("NOMAD_ALLOC_DIR", "NOMAD_TASK_DIR", "NOMAD_SECRETS_DIR", "NBS_STORAGE_DIR")
    surroundings = environment.read(
        {
            "NOMAD_ALLOC_ID": "a",
            "NOMAD_JOB_ID": "image-build/dispatch-1-aa",
            "NOMAD_TASK_NAME": "build",
            "NBS_GIT_STALL_TIMEOUT": "0",
            "NBS_GIT_PROTOCOLS": "http",
            **{name: str(tmp_path / name) for name in names},
        }
    )
    log = PhaseLog(os.open(os.devnull, os.O_WRONLY), 1 << 20, Redactor())
    target = tmp_path / "source"
    url = "http://127.0.0.1:9/a/b"
    repository = Repository(surroundings, log, Deadline.after(60), url, target, {})
    with pytest.raises(PhaseFailed) as raised:
        repository.fetch("main")
    return raised.value


def test_a_slow_disk_is_no_silent_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = fetch(tmp_path, monkeypatch, "init")
    assert failed.reason == "GitUnreachable"
    assert "Failed to connect" in failed.message


def test_a_silent_server_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = fetch(tmp_path, monkeypatch, "fetch")
    assert failed.reason == "GitUnreachable"
    assert "nothing came from the Git server" in failed.message
