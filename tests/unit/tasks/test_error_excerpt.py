"""The lines around the first errors of a step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.failures.error_excerpt import LEFT_OUT, ErrorExcerpt


def excerpt(lines: list[str]) -> list[str]:
    found = ErrorExcerpt()
    for line in lines:
        found.feed(line)
    return found.lines


def test_the_first_error_stands_in_its_surroundings() -> None:
    noise = [f"step {n}" for n in range(100)]
    found = excerpt([*noise, "src/a.c:3: error: no x", *noise, "make: *** [all] Error 1", "bye"])
    assert found == [
        *noise[-4:],
        "src/a.c:3: error: no x",
        *noise[:6],
        LEFT_OUT,
        *noise[-4:],
        "make: *** [all] Error 1",
        "bye",
    ]


def test_words_that_are_no_errors_and_quiet_output_give_nothing() -> None:
    assert excerpt(["0 errors, no failures", "all good", "found 0 error(s)", "errors.o"]) == []


def test_lines_are_not_told_twice() -> None:
    lines = ["a", "error: 1", "b", "error: 2", "c"]
    assert excerpt(lines) == lines


@given(st.lists(st.sampled_from(["x", "error: y", "z" * 2000, "Killed"]), max_size=400))
def test_it_is_bounded(lines: list[str]) -> None:
    found = excerpt(lines)
    assert all(len(line) <= 500 for line in found)
    runs = sum(line == LEFT_OUT for line in found)
    assert runs <= 2
