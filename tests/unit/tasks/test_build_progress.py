"""Steps and their lines, whatever becomes of Buildah's output on its way into the log."""

from __future__ import annotations

import os

import pytest

from controller.tasks.dockerfiles.dockerfile import parse
from controller.tasks.failures.build_progress import BuildProgress
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline, run
from controller.tasks.redaction import Redactor


def progress(text: str, *lines: str, secret: str = "") -> BuildProgress:
    """What is known after these lines of output, with a log between as a build has it."""
    redactor = Redactor()
    redactor.add(secret)
    log = PhaseLog(os.open(os.devnull, os.O_WRONLY), 1 << 20, redactor)
    found = BuildProgress(parse(text, {}))
    for line in lines:
        found.feed("stdout", line, log.write("stdout", line))
    return found


def test_a_long_step_has_its_line() -> None:
    run = f"RUN echo {'x' * 13_000}"
    found = progress(f"FROM base\n{run}\n", f"STEP 2/2: {run}")
    assert found.steps[-1].line == 2
    assert len(found.steps[-1].text) <= 1000
    assert found.source == run


def test_a_step_that_is_longer_than_a_line_of_output() -> None:
    text = f"RUN echo {'x' * 70_000}"
    found = BuildProgress(parse(f"FROM base\n{text}\n", {}))
    echo = ["/bin/sh", "-c", "echo STEP 2/2: RUN echo $(printf %070000d | tr 0 x)"]
    run(echo, found.feed, Deadline.after(10), env=dict(os.environ))
    assert found.steps[-1].line == 2


def test_a_step_that_holds_a_secret_has_its_line_and_is_not_shown() -> None:
    run = "RUN check hunter2-of-mine now"
    found = progress(f"FROM base\n{run}\n", f"STEP 2/2: {run}", secret="hunter2-of-mine")
    assert (found.steps[-1].line, found.steps[-1].text) == (2, "RUN check [redacted] now")
    found = progress(f"FROM base\n{run}\n", f"STEP 2/2: {run}", secret="RUN")
    assert found.steps[-1].line == 2


def test_keywords_may_be_small() -> None:
    found = progress("from base\nrun\ta\n", "STEP 1/2: from base", "STEP 2/2: run\ta")
    assert [(step.line, step.text) for step in found.steps] == [(1, "FROM base"), (2, "RUN a")]


def test_triggers_of_the_base_image_stand_on_its_line() -> None:
    text = "FROM base AS one\nRUN a\nFROM base\nRUN b\n"
    found = progress(
        text,
        "[1/2] STEP 1/3: FROM base AS one",
        "[1/2] STEP 2/3: RUN triggered",
        "[1/2] STEP 3/3: RUN a",
        "[2/2] STEP 1/5: FROM base",
        "[2/2] STEP 2/5: RUN triggered",
        "[2/2] STEP 3/5: RUN triggered too",
        "[2/2] STEP 4/5: RUN b",
        '[2/2] STEP 5/5: LABEL "a"="b"',
    )
    assert [step.line for step in found.steps] == [1, 1, 2, 3, 3, 3, 4, None]


def test_labels_alone_are_no_trigger() -> None:
    found = progress("FROM base\n", "STEP 1/2: FROM base", 'STEP 2/2: LABEL "a"="b"')
    assert [step.line for step in found.steps] == [1, None]


@pytest.mark.parametrize(
    ("stage", "platforms"),
    [(1, {"linux/amd64"}), (2, {"linux/s390x"}), (3, {"linux/s390x"}), (4, {"linux/arm64"})],
)
def test_the_platform_of_a_stage_is_that_of_its_base(stage: int, platforms: set[str]) -> None:
    text = (
        "FROM --platform=linux/amd64 tools AS made\nFROM base AS first\nFROM first\nFROM scratch\n"
        "COPY --from=2 / /\nCOPY --from=made / /\n"
    )
    found = BuildProgress(parse(text, {}, platform="linux/s390x"))
    found.feed("stdout", f"[{stage}/4] STEP 1/1: FROM x")
    assert found.platforms("linux/arm64") == platforms


def test_errors_of_an_earlier_step_are_forgotten() -> None:
    found = BuildProgress(parse("FROM base\nRUN a\nRUN b\n", {}))
    found.feed("stdout", "STEP 2/3: RUN a")
    found.feed("stderr", "Error: parse error")
    found.feed("stdout", "STEP 3/3: RUN b")
    assert not found.errors
