"""Buildah's own words, told from the Dockerfile's text that its errors repeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.dockerfiles.dockerfile import parse
from controller.tasks.failures.buildah_errors import at_fault, own_words, plain, ran, reason_of


def at(quoted: str, words: str) -> str:
    return f'Error: building at STEP "{quoted}": {words}'


@pytest.mark.parametrize(
    ("quoted", "step", "words"),
    [
        ("RUN false", "RUN false", "exit status 1"),
        ('RUN echo "a": b', 'RUN echo "a": b', "exit status 1"),
        ('RUN echo "a"', 'RUN echo "a"', "exit status 1"),
        ("RUN echo a &&     b", "RUN echo a && b", "exit status 1"),
        ("RUN /bin/cat /no such", 'RUN ["/bin/cat", "/no such"]', "exit status 1"),
        ("RUN --mount=type=tmpfs,target=/a b x", 'RUN --mount="type=tmpfs,target=/a b" x', "e"),
        ("RUN <<EOF", "RUN <<EOF", "exit status 1"),
        ("RUN not as we know it", "RUN something else", "exit status 1"),
        ("RUNN ", "RUNN true and more", 'Build error: Unknown instruction: "RUNN" &x.Step{Env:[]}'),
        ("COPY x /y", "copy x /y", 'checking on sources under "/c": copier: stat: "/x": no such'),
    ],
)
def test_the_step_is_cut_off(quoted: str, step: str, words: str) -> None:
    assert own_words(at(quoted, words), step) == words


def test_a_line_that_was_cut_says_nothing() -> None:
    assert (
        own_words('Error: building at STEP "RUN a": no space … [9 bytes left out]', "RUN b") == ""
    )


def test_the_step_of_a_commit_is_cut_off() -> None:
    step = "{Env:[A=fuse-overlayfs] Command:run Message:RUN x Heredocs:[] Original:RUN x}"
    error = f"Error: committing container for step {step}: copying layers: no space left on device"
    assert own_words(error, "RUN x") == "copying layers: no space left on device"
    assert reason_of(own_words(error, "RUN x")) == "OutOfDisk"


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_step_says(step: str, other: str) -> None:
    step = step.replace("\n", " ")
    assert own_words(at(f"RUN {step}", "exit status 1"), f"RUN {step}") == "exit status 1"
    own_words(at(other, "x"), step)


def test_a_hostile_line_does_not_take_long() -> None:
    quoted = 'RUN ": ' * 20_000
    assert own_words(at(quoted, "exit status 1"), quoted) == "exit status 1"
    own_words(at(quoted, "exit status 1"), 'RUN : "' * 19_000)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (at("RUN x", "exit status 1"), True),
        (at("RUN x", "while running runtime: exit status 127"), True),
        (at("RUN x", "mounting: exit status 1"), False),
        (at("RUN x", "exit status one"), False),
    ],
)
def test_an_exit_code_and_nothing_else(error: str, is_one: bool) -> None:
    assert ran(error) is is_one


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('checking on sources under "/c": copier: stat: "/fuse-overlayfs": no such', "CopyFailed"),
        (
            'no items matching glob "/c/x" copied (1 filtered out using /c/.dockerignore)',
            "CopyFailed",
        ),
        ('creating overlay mount to /m, mount_data="lowerdir=x": invalid', "StorageUnavailable"),
        ("kernel does not support overlay fs: 'overlay' is not supported", "StorageUnavailable"),
        ('storing "x": write /big: no space left on device', "OutOfDisk"),
        (
            'reading "https://h/x": Get "https://h/x": dial tcp: lookup h: no such host',
            "DownloadFailed",
        ),
        ('reading "http://h/x": invalid response status 503', "DownloadFailed"),
        ('reading "http://h/x": invalid response status 404', "CopyFailed"),
        (
            'reading "http://h/x": unexpected response digest for "http://h/x": sha256:0, want 1',
            "CopyFailed",
        ),
        ("secret required but no secret with id tok found", "SecretNotFound"),
        ("COPY requires at least two arguments, but only one was given", "DockerfileInvalid"),
        ("COPY --from=nope: no stage or image found with that name", "DockerfileInvalid"),
        (
            "parsing main Dockerfile: /s/Dockerfile: ENV must have two arguments",
            "DockerfileInvalid",
        ),
        (
            "resolving step {Value:env Original:ENV A=${B:?no space left on device}}: b",
            "DockerfileInvalid",
        ),
        ('the target "no" was not found in the provided Dockerfile', "DockerfileInvalid"),
        ("creating build container: base: image not known", "BaseImageNotFound"),
        ("something that nobody has seen", None),
    ],
)
def test_what_the_words_mean(words: str, reason: str | None) -> None:
    assert reason_of(words) == reason


def test_where_sources_were_looked_for_is_named() -> None:
    words = 'checking on sources under "/c": copier: stat: "/x": no such file or directory'
    assert plain(words) == 'the build context has no "/x"'
    assert plain(words, "made") == 'made has no "/x"'
    merged = "/s/67038582ad25f338/31ea6a99/buildah-context-608180034/overlay/1951305861/merge"
    words = (
        f'checking on sources under "{merged}": Rel: can\'t make  relative to {merged}; copier: '
        "stat: globs [/*.jar] matched nothing"
    )
    assert plain(words) == "the build context has nothing like /*.jar"
    words = (
        f'no items matching glob "{merged}/a/kept.txt" copied (1 filtered out using '
        f"{merged}/.dockerignore): no such file or directory"
    )
    assert plain(words) == ".dockerignore leaves out all of a/kept.txt"


def test_the_end_of_a_name_stays() -> None:
    words = 'looking up UID/GID for "nouser": user: unknown user error looking up user "nouser"'
    assert plain(words) == words


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("parsing main Dockerfile: /d: ENV must have two arguments", 3),
        ("parsing main Dockerfile: /d: LABEL must have two arguments", 5),
        (
            'parsing main Dockerfile: /d: Syntax error - can\'t find = in "lost". Must be of',
            4,
        ),
        (
            "resolving step {Value:workdir Next:0x0 Original:WORKDIR ${A:?} Flags:[] StartLine:9 "
            "EndLine:9}: A: it is missing",
            7,
        ),
        ("parsing main Dockerfile: /d: what nobody has seen", None),
    ],
)
def test_the_line_that_buildah_does_not_give(words: str, line: int | None) -> None:
    text = (
        "FROM base\nENV fine=1 old style\nENV lonely\nENV a=b lost\nONBUILD LABEL single\n"
        "SHELL sh\nWORKDIR ${A:?}\n"
    )
    found = at_fault(words, parse(text, {}))
    assert (found.line if found else None) == line
