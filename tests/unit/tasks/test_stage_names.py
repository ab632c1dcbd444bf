"""References to stages, written as the stages are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.dockerfiles import dockerfile
from controller.tasks.dockerfiles.instructions import read
from controller.tasks.dockerfiles.stage_names import as_declared
from controller.tasks.errors import PhaseFailed


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("FROM a AS Builder\nFROM b\nCOPY --from=builder /x /y\n", "--from=Builder /x"),
        ("FROM a as BUILD\nFROM build AS test\nRUN x\n", "FROM BUILD AS test"),
        ("FROM a as BUILD\nfrom build\n", "from BUILD\n"),
        ("FROM a AS B\nFROM --platform=linux/amd64 b as c\n", "linux/amd64 B as c"),
        ("FROM a AS B\nFROM --after=b c\n", "--after=B c"),
        ('FROM a AS B\nFROM c\nCOPY --from="b" /b /b\n', '--from="B" /b /b'),
        ("FROM a AS B\nFROM c\nCOPY --chown=1 \\\n  --from=b \\\n  b b\n", "--from=B \\\n  b b"),
        (
            "FROM a AS B\nFROM c\nRUN --mount=from=b,target=b --mount=from=b,target=c x\n",
            "--mount=from=B,target=b --mount=from=B,target=c x",
        ),
        (
            "FROM a AS B\nFROM c\nRUN --mount='type=bind,\"from=b\",target=/b' b\n",
            '"from=B",target=/b',
        ),
    ],
)
def test_stage_names_are_written_as_they_are_declared(text: str, changed: str) -> None:
    found = as_declared(text.encode()).decode()
    assert changed in found
    assert found.lower() == text.lower()
    dockerfile.parse(found, {})


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS b\nFROM c\nCOPY --from=b / /\n",
        "FROM a AS B\nFROM c AS b\nCOPY --from=b / /\n",
        "FROM a AS B\nFROM c\nCOPY --from=c / /\n",
        "FROM golang AS Golang\nRUN x\n",
        "FROM a AS B\nFROM c\nRUN echo from=b # --from=b\n",
        "FROM a AS B\nFROM c\nCOPY <<EOF /x\nCOPY --from=b / /\nEOF\n",
        "FROM a AS B\nFROM c\nARG N=b\nCOPY --from=$N / /\n",
    ],
)
def test_stage_names_change_nothing_else(text: str) -> None:
    assert as_declared(text.encode()) == text.encode()


def test_stage_names_of_which_the_case_decides_are_left_and_refused() -> None:
    text = b"FROM a AS B\nFROM a AS b\nFROM c AS Cc\nARG N=cC\nFROM d\nCOPY --from=$N / /\n"
    with pytest.raises(PhaseFailed):
        dockerfile.parse(as_declared(text).decode(), {})
    text = b"ARG N=cC\nFROM c AS Cc\nFROM d\nARG N\nCOPY --from=$N / /\n"
    with pytest.raises(PhaseFailed, match=r"line 5: .*did you mean Cc"):
        dockerfile.parse(as_declared(text).decode(), {})


def test_stage_names_keep_bytes_that_are_no_utf_8() -> None:
    text = b"FROM a AS B\nFROM c\nCOPY --from=b /caf\xe9 /\r\n# \xff\n"
    assert as_declared(text) == text.replace(b"from=b", b"from=B")


WORDS = st.sampled_from(["FROM", "a", "AS", "Bb", "bB", "COPY", "RUN", "/", "\\", "<<bb", "#"])
NAMES = st.sampled_from(["bb", "--from=bb", "--from='BB'", "--mount=from=bB,x=y", "--after=bb"])
LINES = st.lists(WORDS | NAMES | st.sampled_from(["$N", "from=bb", "0"]), max_size=6).map(" ".join)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_stage_names_of_wild_files_change_in_case_only(text: str) -> None:
    try:
        before = list(read(text))
        found = as_declared(text.encode()).decode()
    except PhaseFailed:
        return
    assert found.lower() == text.lower()
    after = list(read(found))
    assert [(one.line, one.keyword) for one in after] == [(one.line, one.keyword) for one in before]
    assert as_declared(found.encode()).decode() == found
