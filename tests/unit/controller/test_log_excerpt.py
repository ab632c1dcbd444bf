"""Which lines an answer of bounded size shows."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from controller.logs.excerpt import Line, Search, cut, newest, oldest

TEXTS = st.lists(st.text(alphabet="abc é日", max_size=60), max_size=40)


def lines(texts: list[str]) -> list[Line]:
    made, end = [], 0
    for number, text in enumerate(texts, 1):
        raw = f"2026-11-23T00:00:00.000Z stdout {text}".encode()
        end += len(raw) + 1
        made.append(Line(number, end, raw))
    return made


@given(TEXTS, st.integers(1, 3000))
def test_reading_on_shows_every_line_once_and_in_order(texts: list[str], budget: int) -> None:
    rest, shown = lines(texts), []
    for _ in range(len(texts) + 1):
        excerpt = oldest(rest, budget)
        shown += excerpt.lines
        if not excerpt.left_out:
            break
        rest = [line for line in rest if line.end > (excerpt.end or 0)]
    assert shown == texts


@given(TEXTS, TEXTS, st.integers(200, 3000))
def test_the_newest_lines_are_the_end_of_the_last_phase_first(
    build: list[str], test: list[str], budget: int
) -> None:
    chosen = newest({"build": lines(build), "test": lines(test)}, budget, None)
    kept = chosen["test"].lines
    assert kept == test[len(test) - len(kept) :]
    if chosen["build"].lines:
        assert kept == test
    size = sum(len(line) + 1 for excerpt in chosen.values() for line in excerpt.lines)
    assert size <= budget
    assert chosen["test"].left_out == (kept != test)


def test_a_tail_bounds_each_phase() -> None:
    chosen = newest({"build": lines(["a", "b"]), "test": lines(["c"])}, None, 1)
    assert {phase: excerpt.lines for phase, excerpt in chosen.items()} == {
        "build": ["b"],
        "test": ["c"],
    }


@given(st.text(max_size=500), st.integers(30, 200))
def test_a_long_line_keeps_its_ends(text: str, most: int) -> None:
    shown = cut(text, most)
    assert len(shown) <= most + 40
    assert shown[:10] == text[:10]
    assert not text or shown[-1] == text[-1]


def search(texts: list[str], pattern: str, *, context: int = 0, budget: int = 10_000) -> Search:
    found = Search(re.compile(pattern).search, context=context, budget=budget)
    for line in lines(texts):
        found.feed(line)
    return found


def test_matches_are_numbered_with_their_surroundings_as_grep_shows_them() -> None:
    texts = ["one", "two", "an error", "four", "five", "six", "seven", "error", "nine"]
    found = search(texts, "error", context=1)
    assert found.lines == ["2-two", "3:an error", "4-four", "--", "7-seven", "8:error", "9-nine"]
    assert (found.count, found.end) == (2, None)


def test_surroundings_that_meet_are_one_group() -> None:
    found = search(["x", "a", "a", "y", "a"], "a", context=1)
    assert found.lines == ["1-x", "2:a", "3:a", "4-y", "5:a"]


@given(TEXTS, st.integers(1, 400), st.integers(0, 3))
def test_searching_on_shows_every_match_once(texts: list[str], budget: int, context: int) -> None:
    everything, after, shown = lines(texts), 0, list[str]()
    expected = [f"{one.number}:{one.text}" for one in everything if "a" in one.text]
    for _ in range(len(texts) + 1):
        found = Search(re.compile("a").search, context=context, budget=budget, after=after)
        for line in everything:
            found.feed(line)
        shown += [text for text in found.lines if re.match(r"\d+:", text)]
        if found.end is None:
            break
        after = found.end
    assert shown == expected
