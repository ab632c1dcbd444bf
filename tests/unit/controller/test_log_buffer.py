"""The shared buffer of a log file: whole lines by byte, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.logs.buffer import MAX_LINE, LogBuffer


@given(
    st.binary(max_size=400).map(lambda raw: raw.replace(b"\0", b"\n")),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_lines_are_whole_however_they_arrive(raw: bytes, cuts: list[int]) -> None:
    buffer, rest = LogBuffer(1 << 20), raw
    for cut in cuts:
        piece, rest = rest[:cut], rest[cut:]
        buffer.feed(piece)
        assert buffer.received == len(raw) - len(rest)
    buffer.feed(rest)
    buffer.close()
    lines = buffer.after(0, most=1000)
    assert b"".join(line for _, line in lines) == raw
    assert all(raw[:end].endswith(line) for end, line in lines)
    assert buffer.end == len(raw)


def test_the_oldest_lines_leave() -> None:
    buffer = LogBuffer(30)
    buffer.feed(b"".join(b"line %d...\n" % number for number in range(10)))
    assert (buffer.start, buffer.first) == (70, 7)
    assert buffer.after(buffer.start)[0][1] == b"line %d...\n" % buffer.first
    assert buffer.number(buffer.end) == 10


def test_reading_on_gives_each_line_once() -> None:
    buffer = LogBuffer(1 << 20)
    buffer.feed(b"a\nb\nc\n")
    seen, offset = [], 0
    while found := buffer.after(offset, most=2):
        seen += [line for _, line in found]
        offset = found[-1][0]
    assert seen == [b"a\n", b"b\n", b"c\n"]


def test_an_endless_line_is_cut() -> None:
    buffer = LogBuffer(1 << 20)
    buffer.feed(b"x" * (3 * MAX_LINE))
    assert [len(line) for _, line in buffer.after(0)] == [MAX_LINE, MAX_LINE]
