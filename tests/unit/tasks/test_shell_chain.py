"""Which command of a chain failed: named where the output tells, else nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.failures.shell_chain import commands, failed, script

CHAIN = "apt-get update && apt-get install -y curl && pip install -r r.txt && make all"


@pytest.mark.parametrize(
    ("run", "found"),
    [
        ("a && b || c; d", ["a", "b", "c", "d"]),
        ("echo 'x && y' && b", ["echo 'x && y'", "b"]),
        ('echo "a; \\" b" ; c', ['echo "a; \\" b"', "c"]),
        ("a $(b && c) && d", ["a $(b && c)", "d"]),
        ("(a && b) && c", ["(a && b)", "c"]),
        ('["/bin/x", "a b"]', ["/bin/x 'a b'"]),
        ("[ -e x ] && y", ["[ -e x ]", "y"]),
        ("a | b && c", ["a | b", "c"]),
        ("<<EOF", ["<<EOF"]),
        ("", [""]),
    ],
)
def test_simple_commands(run: str, found: list[str]) -> None:
    if run.startswith("[ "):
        found = [run]  # it reads as the exec form and is none: it stays whole
    assert commands(run) == found


@pytest.mark.parametrize(
    ("run", "output", "code", "command"),
    [
        ("false", [], 1, "false"),
        (CHAIN, ["E: Unable to locate package curl"], 100, None),  # two are apt-get's
        (CHAIN, ["ERROR: Could not find a version that satisfies x"], 1, "pip install -r r.txt"),
        (CHAIN, ["cc -c x.c", "make: *** [Makefile:2: all] Error 1"], 2, "make all"),
        ("a && foo --x && b", ["/bin/sh: foo: not found"], 127, "foo --x"),
        ("a && foo --x && b", ["/bin/sh: 1: foo: not found"], 127, "foo --x"),
        ("a && foo --x && b", ["bash: line 1: foo: command not found"], 127, "foo --x"),
        ("a && ./run.sh && b", ["/bin/sh: ./run.sh: Permission denied"], 126, "./run.sh"),
        ("cd /x && cat /no && b", ["cat: can't open '/no': No such file"], 1, "cat /no"),
        ("cat /a && cat /no", ["cat: can't open '/no': No such file"], 1, None),
        ("set -ex; a; b; c", ["+ a", "out", "+ b --one", "no good"], 3, "b --one"),
        ("a; b; c", ["+ a", "+ b"], 3, None),  # somebody else's plus signs
        ("a && b", ["nothing that tells"], 1, None),
        ("npm install x && frobnicate", ["+ x@1.0.0"], 1, None),
        ("set -x; npm install x && y", ["+ npm install x", "+ x@1.0.0"], 1, "npm install x"),
        ("set -ex\nfor i in 1; do\n  /bin/x $i\ndone", ["+ /bin/x 1"], 1, "/bin/x 1"),
        ("npm ci && npm run build", ["npm ERR! code ELIFECYCLE"], 1, None),
        ("npm ci && yarn build", ["npm ERR! code ELIFECYCLE"], 1, "npm ci"),
        ("A=1 env go build && x", ["main.go:3:2: undefined: y"], 1, "A=1 env go build"),
    ],
)
def test_the_failed_command(run: str, output: list[str], code: int, command: str | None) -> None:
    assert failed(run, output, code) == command


@pytest.mark.parametrize(
    ("run", "written", "found"),
    [
        ("<<EOF", "RUN <<EOF\na\n# b\nc \\\n  d\nEOF\n", "a\nc d"),
        ("<<-'E.F'", "RUN --mount=type=tmpfs,target=/x \\\n <<-'E.F'\n\ta\n\tE.F", "a"),
        ("<<EOF", "RUN <<EOF\n#!/bin/sh -e\na\nEOF", "a"),
        ("<<EOF", "RUN <<EOF\n#!/usr/bin/env python3\na\nEOF", "<<EOF"),
        ("<<EOF", "", "<<EOF"),
        ("python3 <<EOF", "RUN python3 <<EOF\na\nEOF", "python3 <<EOF"),
        ("a && b", "RUN a && b", "a && b"),
    ],
)
def test_what_the_shell_runs(run: str, written: str, found: str) -> None:
    assert script(run, written) == found


@given(st.text(max_size=300), st.lists(st.text(max_size=80), max_size=8), st.integers(0, 255))
def test_nothing_breaks_it_and_what_it_names_is_there(
    run: str, output: list[str], code: int
) -> None:
    found = commands(run)
    assert found
    named = failed(run, output, code)
    assert named is None or named in found or any(named in line for line in output)
