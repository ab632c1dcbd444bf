"""Audit lines: always one line each, whatever the values are, and never another's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.access.callers import READ, Caller
from controller.errors import ServiceError, UnknownBuildError
from controller.observability.audit import Audit
from controller.observability.log_format import OneLine, configure

CALLER = Caller("somebody", frozenset({READ}), "team-a")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine())
    root, audit = logging.getLogger(), logging.getLogger("audit")
    before = root.level, audit.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    audit.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before[0])
    audit.setLevel(before[1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_a_value_cannot_break_out_of_its_line(log: io.StringIO, value: str) -> None:
    log.seek(0)
    log.truncate()
    caller = Caller(value, frozenset(), value)
    Audit("all").refused(value, ServiceError(value), caller, job_id=value, peer=value)
    with Audit("all").deciding(value, caller, changes=False, job_id=value):
        pass
    lines = log.getvalue().split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    for line in lines[:2]:
        assert line.isascii()
        assert json.loads(line)["job_id"] == (value if len(value) <= 200 else f"{value[:199]}…")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_no_other_record_looks_like_a_line_of_the_audit(log: io.StringIO, value: str) -> None:
    log.seek(0)
    log.truncate()
    logging.getLogger("controller").info("%s\n%s", "text", value)
    try:
        raise ValueError(f"{value}\n{value}")
    except ValueError:
        logging.getLogger("controller").exception("failed")
    assert not [line for line in log.getvalue().split("\n") if line.startswith("{")]
    assert "\r" not in log.getvalue()


def test_long_values_are_cut_and_lines_are_bounded(log: io.StringIO) -> None:
    Audit("changes").refused("x" * 10_000, ServiceError("y" * 10_000), CALLER, job_id="z" * 10_000)
    assert len(log.getvalue()) < 1000


def test_values_that_are_no_text_are_named_by_their_kind(log: io.StringIO) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {"a": 1}, float("nan"), 10**4000, True, 7):
        Audit("all").done("x", job_id=value)
    told = [json.loads(line)["job_id"] for line in log.getvalue().splitlines()]
    assert told == ["<list>", "<dict>", "<float>", "<int>", True, 7]


def test_changes_and_refusals_are_told_and_reads_only_where_asked(log: io.StringIO) -> None:
    for mode in ("changes", "all"):
        audit = Audit(mode)
        with audit.deciding("getStatus", CALLER, changes=False):
            pass
        with audit.deciding("killJob", CALLER, changes=True) as noted:
            noted["job_id"] = "a"
        with pytest.raises(UnknownBuildError), audit.deciding("getStatus", CALLER, changes=False):
            raise UnknownBuildError.of("b")
        with pytest.raises(RuntimeError), audit.deciding("getStatus", CALLER, changes=False):
            raise RuntimeError("a bug with a secret in its words")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [(line["operation"], line["outcome"], line["status"]) for line in lines]
    rest = [
        ("killJob", "allowed", 200),
        ("getStatus", "unknown_job", 404),
        ("getStatus", "internal_error", 500),
    ]
    assert told == [*rest, ("getStatus", "allowed", 200), *rest]
    assert "secret" not in log.getvalue()
    assert "changes" not in lines[0]


def test_the_audit_does_not_depend_on_the_level_of_the_log() -> None:
    root, before = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    try:
        configure("error")
        assert logging.getLogger("audit").isEnabledFor(logging.INFO)
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
