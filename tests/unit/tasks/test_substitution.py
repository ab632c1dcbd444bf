"""Variables in the words of FROM, ARG and flags."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.dockerfiles.substitution import SubstitutionError, TooLongError, expand

VALUES = {"X": "value", "E": "", "F": "archive.tar.gz", "P": "a/b/a/c", "L": "x" * 5000 + ".gz"}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("$X-${X}_$X$", "value-value_value$"),
        ("${E:-d}${X:-d}${N:-${X}}", "dvaluevalue"),
        ("${X:+s}${E:+s}${X:?no}", "svalue"),
        ("${N:?said}", "said"),
        ("'$X' \"$X\" \\$X", "$X value $X"),
        ("${F%.*} ${F%%.*} ${F#*.} ${F##*.}", "archive.tar archive tar.gz gz"),
        ("${P/a/x} ${P//a/x} ${P/#a/x} ${P/%c/x} ${P/b}", "x/b/a/c x/b/x/c x/b/a/c a/b/a/x a//a/c"),
        ("${X%value}|${X#value}|${X##value}|${X##alue}", "|value|value|value"),
        ("${X#valu}|${X##valu}|${X%%alue}|${X%%value}", "value|e|v|"),
    ],
)
def test_substitution_as_upstream_has_it(word: str, found: str) -> None:
    assert expand(word, VALUES) == found


@pytest.mark.parametrize(
    "word", ["${X-d}", "${N:?}", "${X:=d}", "'x", '"x', "${X", "${X%}", "${X/}"]
)
def test_substitution_refuses_what_upstream_refuses(word: str) -> None:
    with pytest.raises(SubstitutionError) as failed:
        expand(word, VALUES)
    assert not isinstance(failed.value, TooLongError)


def test_substitution_of_plain_patterns_has_no_limit_of_length() -> None:
    assert expand("${L%.gz}", VALUES) == "x" * 5000
    assert expand("${L//x/}", VALUES) == ".gz"
    with pytest.raises(TooLongError):
        expand("${L%.*}", VALUES)


@pytest.mark.parametrize(
    "word",
    ["${L//x/$L}", "$L" * 100_000, '"' + "$L" * 100_000 + '"', "${A:-" * 30 + "}" * 30],
)
def test_substitution_ends_where_too_much_comes_of_it(word: str) -> None:
    began = time.monotonic()
    with pytest.raises(TooLongError):
        expand(word, VALUES)
    assert time.monotonic() - began < 5


SHORT = st.text("ab/", max_size=6)


@given(SHORT, SHORT.filter(bool), SHORT, st.sampled_from(["#", "##", "%", "%%"]))
def test_substitution_cuts_alike_with_a_pattern_and_without(
    value: str, pattern: str, replacement: str, operator: str
) -> None:
    """A class of one character is that character, and goes the long way."""
    wild = re.sub(r"[ab]", r"[\g<0>]", pattern)
    given = {"V": value, "P": pattern, "W": wild, "R": replacement}
    assert expand(f"${{V{operator}$P}}", given) == expand(f"${{V{operator}$W}}", given)
    for how in ("/", "//", "/#", "/%"):
        assert expand(f"${{V{how}${{P}}/$R}}", given) == expand(f"${{V{how}${{W}}/$R}}", given)


@given(st.text("${}:-+?#%/\\'\"XFP.*ab", max_size=40))
def test_substitution_of_wild_words_fills_in_or_refuses(word: str) -> None:
    try:
        assert isinstance(expand(word, VALUES), str)
    except SubstitutionError as error:
        assert str(error)
