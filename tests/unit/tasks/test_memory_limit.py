"""A limit of memory below the class's: real processes, added up."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any

import pytest

from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation import memory_limit
from controller.tasks.isolation.memory_limit import limited
from controller.tasks.process import Deadline, run

ENV = {"PATH": os.environ["PATH"]}
_TAKE = "import time; taken = b'x' * ({} << 20); print('has-taken', flush=True); time.sleep({})"


@pytest.fixture(autouse=True)
def no_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own limit, if they have one, has no part in this."""

    class Unlimited:
        def limit_mb(self) -> None:
            return None

    monkeypatch.setattr(memory_limit, "MemoryWatch", Unlimited)


def take(request: dict[str, Any], megabytes: int, seconds: float = 0.0) -> None:
    """A program with that much memory, under the limits of phase test."""
    deadline = limited(Deadline.after(60), request, "test")
    argv = [sys.executable, "-c", _TAKE.format(megabytes, seconds)]
    assert run(argv, lambda *_: None, deadline, env=ENV) == 0


def test_a_program_above_the_limit_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(PhaseFailed, match=r"resource_limits\.test\.memory is 64") as raised:
        take({"resource_limits": {"test": {"memory": 64}}}, 200, 60)
    assert time.monotonic() - begun < 20
    assert raised.value.reason == "OutOfMemory"
    used = int(raised.value.message.split()[0])
    assert 64 < used < 400
    assert "resource_limits.test.memory" in raised.value.details["hint"]


def test_a_program_below_it_is_not() -> None:
    take({"resource_limits": {"test": {"memory": 300}}}, 50, 1.5)


def test_what_processes_share_counts_once() -> None:
    """Five processes that have one another's 60 MB: the sum of what each seems to have is 300."""
    forks = (
        "import os, time; taken = b'x' * (60 << 20)\n"
        "for _ in range(4):\n"
        "    if not os.fork(): break\n"
        "time.sleep(1.5)"
    )
    deadline = limited(Deadline.after(60), {"resource_limits": {"memory": 150}}, "build")
    assert run([sys.executable, "-c", forks], lambda *_: None, deadline, env=ENV) == 0


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"memory": 64}, "resource_limits.memory"),
        ({"memory": 2048, "test": {"memory": 64}}, "resource_limits.test.memory"),
        ({"memory": 64, "test": {"memory": 2048}}, ""),
        ({"memory": 64, "test": {"cpu": 100}}, "resource_limits.memory"),
        ({"build": {"memory": 64}}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_phases_own_limit_stands_above_the_builds(
    limits: dict[str, Any] | None, field: str
) -> None:
    request = {"resource_limits": limits}
    if not field:
        take(request, 200)
        return
    with pytest.raises(PhaseFailed, match=f"{re.escape(field)} is 64"):
        take(request, 200, 60)


def test_where_the_task_has_no_more_the_kernel_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Limited:
        def limit_mb(self) -> int:
            return 1024

    monkeypatch.setattr(memory_limit, "MemoryWatch", Limited)
    deadline = Deadline.after(60)
    assert limited(deadline, {"resource_limits": {"memory": 1024}}, "build") is deadline
    assert limited(deadline, {"resource_limits": {"memory": 1023}}, "build") is not deadline
