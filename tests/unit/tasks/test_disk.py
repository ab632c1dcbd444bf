"""The floor under free space and inodes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.tasks.errors import PhaseFailed
from controller.tasks.node.disk import DiskFloor


def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: int) -> str:
    """What the floor of 1 MB says of a file system with these figures; empty where it is well."""
    figures = {"f_bavail": 1 << 20, "f_frsize": 4096, "f_files": 1000, "f_favail": 500} | values
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**figures))
    try:
        DiskFloor(tmp_path, 1 << 20).check()
    except PhaseFailed as failed:
        assert failed.reason == "OutOfDisk"
        return failed.message
    return ""


def test_space_and_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full(tmp_path, monkeypatch) == ""
    assert "0 MB are free" in full(tmp_path, monkeypatch, f_bavail=255)
    assert "19 inodes" in full(tmp_path, monkeypatch, f_favail=19)
    assert full(tmp_path, monkeypatch, f_favail=20) == ""
    assert full(tmp_path, monkeypatch, f_files=0, f_favail=0) == ""


def test_who_filled_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"f_bavail": 1 << 20, "f_frsize": 4096, "f_files": 0, "f_favail": 0}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**figures))
    floor = DiskFloor(tmp_path, 1 << 20)
    floor.check()
    figures["f_bavail"] = 0
    with pytest.raises(PhaseFailed) as failed:
        floor.check()
    assert "had room when this phase began" in failed.value.details["hint"]
    with pytest.raises(PhaseFailed) as failed:
        DiskFloor(tmp_path, 1 << 20).check()
    assert failed.value.details["hint"] is None


def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    DiskFloor(tmp_path / "none", 1 << 60).check()
