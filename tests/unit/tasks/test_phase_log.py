"""A phase's log: capped, redacted, and its last words always in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.contract.log_line import parse_line
from controller.tasks.phase_log import PhaseLog
from controller.tasks.redaction import Redactor


def opened(path: Path, most: int = 1 << 20) -> tuple[PhaseLog, Redactor]:
    redactor = Redactor()
    return PhaseLog(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), most, redactor), redactor


def test_phase_log_flood_stays_below_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log, _ = opened(path, 20_000)
    for number in range(5_000):
        log.write("stdout", f"line {number} " + "x" * 50)
    log.say("the last word")
    log.close()
    lines = [parse_line(raw) for raw in path.read_bytes().splitlines()]
    assert path.stat().st_size <= 20_000
    assert lines[-2].text == "the last word"
    assert f"{log.dropped} lines beyond" in lines[-1].text
    assert sum(line.stream == "stdout" for line in lines) + log.dropped == 5_000
    # What a failure quotes is the end of the output, not the end of what fitted.
    assert any("line 4999" in text for text in log.tail)


def test_phase_log_redacts_and_cuts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log, redactor = opened(tmp_path / "log")
    redactor.add("hunter2hunter2")
    log.write("stderr", "password is hunter2hunter2")
    log.write("stdout", "y" * 40_000)
    log.close()
    text = (tmp_path / "log").read_text()
    assert "hunter2" not in text
    assert "hunter2" not in capfd.readouterr().out
    assert "characters left out" in text
    assert max(map(len, text.splitlines())) < 20_000
