"""Cursors and history records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import cursor
from controller.contract.results import PHASES
from controller.cursor import Cursor
from controller.errors import MalformedRequestError
from controller.history.records import encode
from controller.status.build import Build, Status


@given(st.uuids(), st.sampled_from(PHASES), st.integers(0, 10**14))
def test_a_cursor_reads_back(alloc_id: object, phase: str, offset: int) -> None:
    one = Cursor(str(alloc_id), phase, offset)
    assert cursor.parse(str(one)) == one


@given(st.text(max_size=40))
def test_anything_else_is_refused(text: str) -> None:
    try:
        found = cursor.parse(text)
    except MalformedRequestError:
        return
    assert found.phase in PHASES


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_a_record_fits_into_consul(size: int) -> None:
    build = Build("a.b.c", "b/dispatch-c", Status.FAILED, config={"x": "y" * 1000})
    tails = {"build": ["x" * 100] * (size // 100), "test": ["last \N{SNOWMAN}"]}
    raw = encode(build, tails, 300_000)
    assert len(raw) <= 300_000
    assert "last \N{SNOWMAN}".encode() in raw
