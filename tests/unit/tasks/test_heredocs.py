"""Here-documents where Buildah finds them: what is expected was asked of its own parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.dockerfiles.heredocs import Heredoc, LexError, TooDeepError, following


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("RUN <<EOF", ["EOF"]),
        ("RUN << EOF cat", ["EOF"]),
        ("RUN 3<<-EOF a<<B", ["EOF"]),
        ("COPY <<a <<'b' <<\"c d\" <<e\\ f /x", ["a", "b", "c d", "e f"]),
        ("RUN <<- E", []),
        ("RUN x<< <<-E", []),
        ("RUN '<<EOF' \\<<EOF \"<<EOF\" <<<EOF", []),
        ('RUN echo "open <<EOF', []),
        ("RUN echo ${X:-a b} <<EOF", ["EOF"]),
        ("RUN echo ${X/a/b} <<EOF", ["EOF"]),
        ("RUN echo ${#X} <<EOF", []),
        ("RUN echo ${!X} <<EOF", []),
        ("RUN echo ${} <<EOF", []),
        ("RUN a<<${X:-b}", []),
        ("RUN <<$X", ["$X"]),
        ("RUN <<é", ["é"]),
        ("RUN <<\N{ZERO WIDTH NO-BREAK SPACE}", []),
    ],
)
def test_heredocs_are_where_buildah_finds_them(line: str, names: list[str]) -> None:
    assert [one.name for one in following(line)] == names


def test_heredocs_with_a_dash_lose_their_tabs() -> None:
    assert following("RUN <<-A <<B") == [Heredoc("A", True), Heredoc("B", False)]


def test_heredocs_behind_very_deep_words_are_not_looked_for() -> None:
    with pytest.raises(TooDeepError):
        following("RUN " + "${X:-" * 5000 + "}" * 5000 + " <<EOF")


@given(st.text("<-EO '\"\\${}:/#%Xx\t\u00a0", max_size=60))
def test_heredocs_of_wild_lines_are_found_or_refused(line: str) -> None:
    try:
        found = following(line)
    except LexError as error:
        assert str(error)
        return
    assert all(one.name for one in found)
