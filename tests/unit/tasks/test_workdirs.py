"""Where a Dockerfile gets the line that keeps a WORKDIR's directory, and where it needs none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.context import source_tree
from controller.tasks.dockerfiles import dockerfile, workdirs
from controller.tasks.dockerfiles.instructions import read

KEEP = b"COPY --from=nbs-workdir . /"
BASE = "FROM registry.example/base:1\n"


def kept(text: str | bytes, *, layers: bool = True) -> bytes:
    content = text.encode() if isinstance(text, str) else text
    parsed = dockerfile.parse(source_tree.text(content), {})
    return workdirs.keep(content, parsed, {"registry.example/root:1": "root"}, layers=layers)[0]


@pytest.mark.parametrize(
    "text",
    [
        BASE + "WORKDIR /w\nRUN make\n",
        BASE + "WORKDIR /w\n# comment\nENV A=1\nRUN make\n",
        BASE + "USER root:0\nWORKDIR /w\nCOPY . .\n",
        "FROM scratch\nWORKDIR /w\nADD a /w\n",
        "FROM registry.example/root:1\nWORKDIR /w\nCOPY . .\n",
        "FROM scratch AS one\nFROM one\nWORKDIR /w\nCOPY . .\n",
        BASE + "USER root\nFROM 0\nWORKDIR /w\nCOPY --from=0 /a /a\n",
        BASE + "RUN <<EOF\nWORKDIR /w\nEOF\n",
        BASE + "ONBUILD WORKDIR /w\n",
    ],
)
def test_nothing_is_added_where_the_next_step_makes_the_same(text: str) -> None:
    assert kept(text) == text.encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BASE + "WORKDIR /w\n", "\n"),
        (BASE + "WORKDIR /w", ""),
        (BASE + "WORKDIR /w\n", 'CMD ["x"]\n'),
        (BASE + "WORKDIR /w\n", "WORKDIR x\nRUN make\n"),
        (BASE + "WORKDIR /w\n", "USER 1\nRUN make\n"),
        (BASE + "WORKDIR /w\n", "COPY . .\n"),
        ("FROM scratch\nUSER 1\nWORKDIR /w\n", "COPY . .\n"),
        ("FROM scratch\nWORKDIR /w\n", "COPY --chown=1 . .\n"),
        (BASE + "WORKDIR /w\n\n# comment\n", "FROM scratch\nCOPY --from=0 /w /w\n"),
        (BASE + "WORKDIR \\\n# comment\n  /w\n", "FROM scratch\n"),
        ("# escape=`\r\n" + BASE + "WORKDIR `\r\n /w\r\n", "FROM scratch\r\n"),
    ],
)
def test_a_line_is_added_where_the_directory_would_be_another(before: str, after: str) -> None:
    found = kept(before + after)
    assert found.count(KEEP) == 1
    assert (
        found.replace(KEEP, b"").replace(b"\n", b"") == (before + after).replace("\n", "").encode()
    )
    if after.strip():
        instruction = after.partition("\n")[0]
        assert found.index(KEEP) < found.index(instruction.encode(), len(before.strip()))
    sources = [one.source for one in read(source_tree.text(found))]
    assert sources[sources.index(KEEP.decode()) - 1].startswith("WORKDIR ")


def test_without_layers_only_a_stage_of_nothing_but_settings_needs_a_line() -> None:
    assert kept(f"{BASE}WORKDIR /w\nUSER 1\n", layers=False).count(KEEP) == 1
    for step in ("RUN make", "COPY --chown=1 . .", "ADD a /"):
        text = f"{BASE}WORKDIR /a\n{step}\nWORKDIR /w\n"
        assert kept(text, layers=False) == text.encode()


def test_instructions_keep_the_authors_lines() -> None:
    text = f"{BASE}WORKDIR /a\nWORKDIR b\nUSER 1\nRUN make\nWORKDIR /c\n"
    _, found = workdirs.keep(text.encode(), dockerfile.parse(text, {}), {}, layers=True)
    lines = [(one.line, one.keyword) for one in found.stages[0].instructions]
    assert lines == [
        (1, "FROM"),
        (2, "WORKDIR"),
        (2, "COPY"),
        (3, "WORKDIR"),
        (3, "COPY"),
        (4, "USER"),
        (5, "RUN"),
        (6, "WORKDIR"),
        (6, "COPY"),
    ]
    assert list(found.images) == ["registry.example/base:1"]


@pytest.mark.parametrize(
    "text", [BASE + "WORKDIR /w \\\n", BASE + "WORKDIR /w\nLABEL a=nbs-workdir\n"]
)
def test_what_could_be_read_otherwise_is_left_alone(text: str) -> None:
    """A line after an open continuation belongs to it; a name that is ours leads to our folder."""
    assert kept(text) == text.encode()


@given(
    st.lists(
        st.sampled_from(
            [
                "WORKDIR /w",
                "WORKDIR a \\\n b",
                "USER 1",
                "RUN <<E\nWORKDIR /x\nE",
                "COPY --chown=1 . .",
                "FROM scratch",
                "# WORKDIR /y",
                "",
                "CMD x \\",
                "LABEL a=\xe9",
            ]
        )
    ),
    st.sampled_from(["utf-8", "latin-1"]),
)
def test_the_authors_instructions_stay_what_they_are(lines: list[str], encoding: str) -> None:
    content = "\n".join(["FROM scratch", *lines]).encode(encoding)
    before = [one.source for one in read(source_tree.text(content))]
    after = [one.source for one in read(source_tree.text(kept(content)))]
    assert [one for one in after if one != KEEP.decode()] == before
