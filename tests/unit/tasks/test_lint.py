"""What a Dockerfile is told before anything of it runs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.context import ignore
from controller.tasks.dockerfiles import dockerfile
from controller.tasks.dockerfiles.lint import Finding, lint
from controller.tasks.errors import PhaseFailed

FILES = {"app.py", "lib/a.py", "lib/b.txt", "docs/readme.md"}


def findings(text: str, ignored: str = "", **request: object) -> list[Finding]:
    parsed = dockerfile.parse(text, {})
    return lint(parsed, request, FILES, ignored)


def test_nothing_is_said_of_a_good_one() -> None:
    text = (
        "FROM registry.example/base:1 AS build\nARG VERSION\nCOPY app.py lib/ /src/\n"
        "COPY l*/*.py ./docs /src/\nRUN make\nFROM scratch\nCOPY --from=build /src/app /app\n"
        'COPY "app.py" lib/../app.py .//app.py ../app.py /x\n'
        'COPY ["lib/a.py", "/x"]\nADD https://example.com/x.tar.gz /\nCOPY $VERSION /x\n'
        "COPY <<EOF /motd\nhello\nEOF\n"
    )
    assert findings(text, build_args={"VERSION": "1", "HTTP_PROXY": "x"}, target="build") == []


@pytest.mark.parametrize(
    ("text", "line", "message", "fix"),
    [
        ("FROM a:1\nRUM make", 2, "'RUM' is not an instruction", "RUN"),
        ("FROM a:1\n\n&& make", 3, "'&&' is not an instruction", "backslash"),
        ("FROM a:1\nCOPY missing.txt /", 2, "'missing.txt' is not in the build context", "path"),
        ("FROM a:1\nADD --chown=1 app.py no.py /", 2, "'no.py'", "path"),
        ('FROM a:1\nCOPY ["no file", "/"]', 2, "'no file'", "path"),
        ("FROM a:1\nCOPY app.py", 2, "a source and a destination", "DESTINATION"),
    ],
)
def test_errors_have_the_line_and_the_way_out(text: str, line: int, message: str, fix: str) -> None:
    (found,) = findings(text)
    assert (found.severity, found.line) == ("error", line)
    assert message in found.message
    assert fix in found.fix


def test_a_pattern_may_match_nothing_beside_a_source_that_is_there() -> None:
    assert findings('FROM a:1\nCOPY app.py yarn.lock* /x/\nADD ["n[o]*", "lib", "/x/"]') == []
    missing = findings("FROM a:1\nCOPY yarn.lock* *.lock https://example.com/x /x/")
    assert [one.line for one in missing] == [2, 2]


def test_a_path_through_a_link_is_not_judged() -> None:
    parsed = dockerfile.parse("FROM a:1\nCOPY link/f l*k/g dir/link/* /x/\nCOPY nolink/f /x\n", {})
    (found,) = lint(parsed, {}, {"link", "dir/link"}, "", {"link", "dir/link"})
    assert "'nolink/f'" in found.message


def test_what_dockerignore_leaves_out_is_named() -> None:
    (found,) = findings("FROM a:1\nCOPY lib/a.py /", "**/*.py\n!app.py\n")
    assert "left out by .dockerignore" in found.message


def test_a_directory_of_ignored_files_is_still_a_directory() -> None:
    assert findings("FROM a:1\nCOPY docs /x", "docs/readme.md") == []


def test_warnings() -> None:
    text = (
        "FROM alpine AS a\nFROM a:latest AS b\nFROM scratch\n"
        "COPY --from=a /x /\nCOPY --from=b /x /\nCOPY app.py /"
    )
    found = findings(text, build_args={"X": "1"}, test={"commands": ["./app"]})
    assert {one.severity for one in found} == {"warning"}
    assert [one.line for one in found] == [0, 1, 2, 0]


def test_a_source_stage_that_is_not_there() -> None:
    text = "FROM a:1 AS builder\nFROM b:1\nCOPY --from=bilder /x /x"
    found = [one for one in findings(text) if one.line == 3]
    assert [(one.severity, one.fix) for one in found] == [("warning", "did you mean builder?")]


def test_hostile_patterns_take_no_time() -> None:
    deep = "/".join("a" * 60 for _ in range(60))
    rules = "\n".join(("**/" * 40 + "zz", "a*" * 40 + "z", "**/" + "a*" * 30 + "/b"))
    began = time.monotonic()
    assert ignore.filtered({deep}, rules) == {deep}
    assert time.monotonic() - began < 5  # a backtracking matcher would not end


def test_a_stage_that_is_not_there() -> None:
    (found,) = findings("FROM a:1 AS one", target="two")
    assert found.severity == "error"
    assert "one" in found.fix


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("lib", {"app.py", "docs/readme.md"}),
        ("*.py", FILES - {"app.py"}),
        ("**/*.py", {"lib/b.txt", "docs/readme.md"}),
        ("*\n!lib/*.txt", {"lib/b.txt"}),
        ("# comment\n\n/lib/", {"app.py", "docs/readme.md"}),
        ("lib/?.py\n[a-d]ocs", {"app.py", "lib/b.txt"}),
        ("[z-a", FILES),
        ("**", set()),
    ],
)
def test_dockerignore(patterns: str, left: set[str]) -> None:
    assert ignore.filtered(FILES, patterns) == left


@given(st.text(max_size=300), st.text(max_size=60))
def test_wild_files_are_refused_or_judged_and_never_break(text: str, ignored: str) -> None:
    try:
        parsed = dockerfile.parse(f"FROM a:1\n{text}", {})
    except PhaseFailed:
        return
    for finding in lint(parsed, {"target": text[:5] or None}, FILES, ignored):
        assert finding.message
        assert finding.fix


LINES = st.lists(
    st.sampled_from(
        ["COPY", "ADD", "RUN", "ARG", "x", '["a", ', "<<EOF", "EOF", "\\", "$V", "--x="]
    ),
    max_size=12,
)


@given(st.lists(LINES, max_size=8))
def test_dockerfiles_made_of_pieces(lines: list[list[str]]) -> None:
    text = "FROM a:1\n" + "\n".join(" ".join(words) for words in lines)
    try:
        parsed = dockerfile.parse(text, {})
    except PhaseFailed:
        return
    lint(parsed, {}, FILES)
