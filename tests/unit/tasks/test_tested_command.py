"""What Buildah's words about a test command mean."""

from __future__ import annotations

import pytest

from controller.tasks.errors import PhaseFailed
from controller.tasks.failures.tested_command import TestedCommand, all_of
from controller.tasks.isolation.memory import MemoryWatch


def ended(argv: list[str], code: int, *lines: str) -> tuple[TestedCommand, PhaseFailed]:
    command = TestedCommand(2, 3, " ".join(argv), argv)
    for line in lines:
        command.heard(line)
    command.record["exit_code"], command.record["signal"] = command.ended(code)
    return command, command.failure(command.record, MemoryWatch())


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        ("killed", 137, "SIGKILL"),
        ("segmentation fault", 139, "SIGSEGV"),
        ("aborted", 134, "SIGABRT"),
        ("terminated", 143, "SIGTERM"),
    ],
)
def test_a_signal_is_named(words: str, code: int, name: str) -> None:
    command, failed = ended(
        ["x"], 1, "said", f"subprocess exited on {words}", "Error: exit status 1"
    )
    assert (command.record["exit_code"], command.record["signal"]) == (code, name)
    assert failed.message == f"test 2/3 was ended by {name}"
    assert command.tail == ["said"]


def test_what_a_test_prints_of_a_signal_counts_only_where_it_failed() -> None:
    command = TestedCommand(1, 1, "x", ["x"])
    command.heard("subprocess exited on killed")
    assert command.ended(0) == (0, None)


def test_a_missing_shell_is_told_from_another_missing_program() -> None:
    words = "process failed to start with error: fork/exec {}: no such file or directory"
    _, failed = ended(["/bin/sh", "-c", "true"], 1, words.format("/bin/sh"))
    assert failed.reason == "TestCommandNotFound"
    assert failed.message.startswith("the image has no /bin/sh")
    _, failed = ended(["/app/check"], 1, words.format("/app/check"))
    assert failed.reason == "TestCommandNotFound"
    assert "/app/check" in failed.message


@pytest.mark.parametrize(
    ("words", "runs_here", "reason", "hint"),
    [
        ("fork/exec /x: permission denied", True, "TestFailed", "chmod"),
        ("fork/exec /x: exec format error", True, "TestFailed", "#!"),
        ("fork/exec /x: exec format error", False, "PlatformUnavailable", None),
        ("fork/exec /x: too many levels of symbolic links", True, "TestFailed", None),
        ('exec: "x": executable file not found in $PATH', True, "TestCommandNotFound", None),
        ("fork/exec /x: no such file or directory", True, "TestCommandNotFound", None),
    ],
)
def test_what_could_not_be_started(
    words: str, runs_here: bool, reason: str, hint: str | None
) -> None:
    command = TestedCommand(2, 3, "/x", ["/x"])
    command.heard(f"process failed to start with error: {words}")
    command.record["exit_code"], command.record["signal"] = command.ended(1)
    failed = command.failure(command.record, MemoryWatch(), runs_here=runs_here)
    assert failed.reason == reason
    assert words in failed.message
    assert (failed.details["hint"] is None) if hint is None else (hint in failed.details["hint"])


def test_the_tail_is_bounded() -> None:
    command = TestedCommand(1, 1, "x", ["x"])
    for number in range(1000):
        command.heard(f"{number} {'x' * 1000}")
    assert len(command.tail) == 20
    assert all(len(line) == 200 for line in command.tail)
    assert command.tail[-1].startswith("999 ")


def test_several_failures_are_one() -> None:
    first = PhaseFailed("TestFailed", "test 1/3 exited with status 1", step="test 1/3", exit_code=1)
    other = PhaseFailed("OutOfMemory", "256 MB were used up", step="test 3/3", exit_code=137)
    assert all_of([first], 3) is first
    both = all_of([first, other], 3)
    assert (both.reason, both.details["exit_code"]) == ("TestFailed", 1)
    assert both.message == (
        "2 of 3 tests failed: test 1/3 exited with status 1; test 3/3: 256 MB were used up"
    )
