"""Git LFS: which checkouts use it, which server is asked, and what its failures mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.tasks.context import large_files
from controller.tasks.errors import PhaseFailed


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("*.bin filter=lfs diff=lfs merge=lfs -text\n", True),
        ("[attr]large filter=lfs\n*.psd large\n", True),
        ("*.txt text\n*.bin\tfilter=lfs", True),
        ("# *.bin filter=lfs\n", False),
        ("*.bin filter=lfsx\n", False),
        ("*.bin diff=lfs\n", False),
        ("", False),
    ],
)
def test_it_is_used_where_an_attribute_says_so(tmp_path: Path, text: str, used: bool) -> None:
    (tmp_path / ".gitattributes").write_text(text)
    assert large_files.used(tmp_path, [".gitattributes"]) is used


def test_a_link_is_no_attributes_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("* filter=lfs\n")
    (tmp_path / ".gitattributes").symlink_to("real")
    assert not large_files.used(tmp_path, [".gitattributes", "gone/.gitattributes"])


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://git.example.com/a/b", "https://git.example.com/a/b.git/info/lfs"),
        ("https://git.example.com/a/b.git", "https://git.example.com/a/b.git/info/lfs"),
        ("https://git.example.com/a/b.git/", "https://git.example.com/a/b.git/info/lfs"),
        ("git@git.example.com:a/b.git", "git@git.example.com:a/b.git"),
        ("ssh://git@git.example.com/a/b.git", "ssh://git@git.example.com/a/b.git"),
    ],
)
def test_the_repositorys_own_server_is_asked(url: str, endpoint: str) -> None:
    assert large_files.endpoint(url) == endpoint


def test_a_node_without_the_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PhaseFailed, match="no git-lfs") as raised:
        large_files.settings("https://git.example.com/a/b")
    assert raised.value.reason == "NodeNotPrepared"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1f2e] Object does not exist on the server: [404] …", "GitLfsObjectMissing"),
        ("batch response: 404 Not Found: Cannot find any of it", "GitLfsObjectMissing"),
        ("batch response: Repository or object not found: https://a/b", "GitLfsObjectMissing"),
        ("batch response: Authentication required: Authorization error", "GitAuthenticationFailed"),
        ("batch response: Fatal error: Server error x from HTTP 503", "GitUnreachable"),
        ('Post "https://a/b": dial tcp 10.0.0.1:443: i/o timeout', "GitUnreachable"),
        ("batch request: ssh: exit 255", "GitFetchFailed"),
    ],
)
def test_failures_have_reasons(line: str, reason: str) -> None:
    last = "Failed to fetch some objects from 'https://a/b.git/info/lfs'"
    found = large_files.failure([line, last], lambda: PhaseFailed("GitFetchFailed", last))
    assert found.reason == reason
