"""What the runner imports before it can answer: who waits for it waits for that too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.paths import REPOSITORY
from controller.contract.results import phase_log_path
from controller.tasks.__main__ import BUILD_LOG

_SLOW = {"typing", "json", "re", "pathlib", "dataclasses", "subprocess", "socket", "ctypes"}


def imported(module: str) -> set[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import {module}; print(*sys.modules)"
    )
    argv = [sys.executable, "-ISB", "-c", code]
    return set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["context.askpass", "isolation.sandbox_entry", "__main__"])
def test_what_is_waited_for_imports_little(module: str) -> None:
    assert imported(f"controller.tasks.{module}") & _SLOW == set()


def test_finish_knows_nothing_of_vault_and_registries() -> None:
    loaded = imported("controller.tasks.finish") | imported("controller.tasks.keep")
    assert loaded & {"ssl", "http.client", "urllib.request", "controller.tasks.vault"} == set()


def test_the_path_of_the_log_is_the_contracts() -> None:
    assert phase_log_path("build") == BUILD_LOG
