"""Log lines: one line in, one line out, and nothing that drives a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from controller.contract.log_line import clean, format_line, parse_line


@given(st.sampled_from(["stdout", "stderr", "nbs"]), st.text(max_size=200))
def test_log_line_round_trip(stream: str, text: str) -> None:
    raw = format_line(stream, text)
    assert raw.count(b"\n") == 1
    line = parse_line(raw)
    assert line.stream == stream
    assert line.text == clean(text).encode("utf-8", "replace").decode()


def test_log_line_escapes_and_progress_bars() -> None:
    assert clean("\x1b[31mred\x1b[0m\x1b]0;title\x07 text") == "red text"
    assert clean("10%\r50%\r100%\n") == "100%"
    assert "\x1b" not in clean("\x1b\x1b[2J\x00")


def test_log_line_foreign_text_is_kept() -> None:
    assert parse_line(b"no header here\n") == ("", "stdout", "no header here")
