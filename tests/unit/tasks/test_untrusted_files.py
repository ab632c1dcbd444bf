"""Files that an earlier task could have planted: no link is followed, nothing large is read."""

import json
import os
from pathlib import Path

import pytest

from controller.tasks.untrusted_files import create, directory, read_bytes, write_json


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
