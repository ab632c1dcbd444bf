"""Trying again: what may pass, how often, how long between, and never beyond the deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline
from controller.tasks.redaction import Redactor
from controller.tasks.registries import tries
from controller.tasks.registries.stalling import StallGuard
from controller.tasks.registries.tries import Transient, Tries, passing


@pytest.fixture
def log() -> PhaseLog:
    return PhaseLog(os.open(os.devnull, os.O_WRONLY), 1 << 20, Redactor())


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; in the middle of what chance allows."""
    made: list[float] = []
    monkeypatch.setattr(tries.time, "sleep", made.append)
    monkeypatch.setattr(tries.random, "uniform", lambda low, high: (low + high) / 2)
    return made


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def test_what_passes_is_tried_again_ever_later(log: PhaseLog, pauses: list[float]) -> None:
    attempt = failing(Transient("a"), Transient("b"), Transient("c"))
    assert Tries(log, Deadline.after(60))("pushing", attempt) == "done"
    assert pauses == [1, 2, 4]
    assert [line.partition(": try ")[2][:14] for line in log.tail] == [
        f"{number} of 5 failed:" for number in (1, 2, 3)
    ]


def test_a_refusal_is_one_at_once(log: PhaseLog, pauses: list[float]) -> None:
    refusal = PhaseFailed("RegistryAuthenticationFailed", "no")
    with pytest.raises(PhaseFailed) as raised:
        Tries(log, Deadline.after(60))("pushing", failing(refusal))
    assert raised.value is refusal
    assert pauses == []


def test_the_last_try_says_how_many_there_were(log: PhaseLog, pauses: list[float]) -> None:
    with pytest.raises(PhaseFailed, match=r"away \(3 tries\)") as raised:
        Tries(log, Deadline.after(60), most=3)("pushing", failing(*[Transient("away")] * 3))
    assert not isinstance(raised.value, Transient)
    assert len(pauses) == 2


def test_the_registrys_own_wish_is_kept(log: PhaseLog, pauses: list[float]) -> None:
    attempt = failing(Transient("busy", retry_after=7))
    Tries(log, Deadline.after(60))("pushing", attempt)
    assert pauses == [7]


def test_no_pause_goes_beyond_the_deadline(log: PhaseLog, pauses: list[float]) -> None:
    attempt = failing(Transient("busy", retry_after=600))
    with pytest.raises(PhaseFailed, match="the registry's pause of 600 s is longer"):
        Tries(log, Deadline.after(60))("pushing", attempt)
    assert pauses == []
    with pytest.raises(DeadlinePassed):
        Tries(log, Deadline.after(0))("pushing", failing())


@pytest.mark.parametrize(
    ("reason", "message", "again"),
    [
        ("RegistryUnavailable", "a: connection refused", True),
        ("RegistryNotTrusted", "a: x509: certificate signed by unknown authority", False),
        ("RegistryAuthenticationFailed", "a: denied", False),
    ],
)
def test_what_may_pass(reason: str, message: str, again: bool) -> None:
    assert isinstance(passing(PhaseFailed(reason, message)), Transient) is again


def test_a_program_that_waits_is_noticed() -> None:
    with running("import time; time.sleep(60)"):
        guard = StallGuard(1)
        with pytest.raises(Transient, match="did nothing for 1 s"):
            look_for(20, guard)


def test_a_program_that_works_is_left_alone() -> None:
    with running("while True: open('/dev/null', 'w').write('x')"):
        look_for(3, StallGuard(2))


def test_what_is_aside_does_not_count_and_the_failure_is_the_callers() -> None:
    name = Path(sys.executable).name[:15]
    with running("while True: open('/dev/null', 'w').write('x')"):
        guard = StallGuard(1, lambda seconds: PhaseFailed("GitUnreachable", "mute"), aside=name)
        with pytest.raises(PhaseFailed, match="mute"):
            look_for(20, guard)


def test_the_deadlines_own_guard_is_asked_too() -> None:
    def full() -> None:
        raise PhaseFailed("OutOfDisk", "full")

    watched = StallGuard(60).within(Deadline.after(60, full))
    with pytest.raises(PhaseFailed, match="full"):
        watched.check()


@contextmanager
def running(code: str) -> Iterator[None]:
    program = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def look_for(seconds: float, guard: StallGuard) -> None:
    end, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        guard.check()
        pause.wait(0.05)
