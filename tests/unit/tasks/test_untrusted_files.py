"""Files that an earlier task could have planted: no link is followed, nothing large is read."""

import json
import os
from pathlib import Path

import pytest

from controller.tasks.untrusted_files import (
    create,
    directory,
    only_plain,
    read_bytes,
    remove,
    write_json,
)


def test_untrusted_files_round_trip(tmp_path: Path) -> None:
    with directory(tmp_path, "data", "nbs", create=True) as handle:
        write_json(handle, "x.json", {"a": 1})
        write_json(handle, "x.json", {"a": 2})
        assert json.loads(read_bytes(handle, "x.json")) == {"a": 2}
    assert sorted(p.name for p in (tmp_path / "data/nbs").iterdir()) == ["x.json"]


def test_untrusted_files_refuse_links_fifos_and_large_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "large").write_bytes(b"x" * 11)
    os.mkfifo(tmp_path / "fifo")
    with directory(tmp_path) as handle:
        for name in ("link", "large", "fifo"):
            with pytest.raises(ValueError, match=name):
                read_bytes(handle, name, limit=10)
        with pytest.raises(FileNotFoundError):
            read_bytes(handle, "missing")
        with pytest.raises(FileExistsError):
            create(handle, "link")


def test_untrusted_files_writing_replaces_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "out.json").symlink_to(victim)
    with directory(tmp_path) as handle:
        write_json(handle, "out.json", {})
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "out.json").is_symlink()


def test_untrusted_files_refuse_a_linked_directory(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "nbs").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), directory(tmp_path, "data", "nbs", create=True):
        raise AssertionError("a linked directory was opened")


def test_untrusted_files_writing_replaces_a_planted_directory(tmp_path: Path) -> None:
    (tmp_path / "out.json" / "below").mkdir(parents=True)
    with directory(tmp_path) as handle:
        write_json(handle, "out.json", {"a": 1})
        assert json.loads(read_bytes(handle, "out.json")) == {"a": 1}


def test_untrusted_files_tell_what_is_not_plain(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "logs").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "hard").write_text("x")
    os.link(tmp_path / "hard", tmp_path / "hard2")
    os.mkfifo(tmp_path / "fifo")
    with directory(tmp_path) as handle:
        found = only_plain(handle, "logs")
        assert found == ["fifo", "hard", "hard2", "link", "other"]
        for name in found:
            assert remove(handle, name) == []
        assert only_plain(handle, "logs") == []
    assert (tmp_path / "plain").read_text() == "x"
