"""A disk that is full in phase `test` ends the tests, and fails no bill of materials."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.tasks import environment, test
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline
from controller.tasks.redaction import Redactor
from controller.tasks.supply_chain import bill_of_materials
from controller.tasks.untrusted_files import directory, write_json

BUILT = {
    "phase": "build",
    "schema": 1,
    "alloc_id": "0" * 36,
    "status": "succeeded",
    "image_id": f"sha256:{'0' * 64}",
    "commit": "0" * 40,
}


def full() -> None:
    raise PhaseFailed("OutOfDisk", "only 3 MB are free")


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    """A phase whose disk is full whenever it is looked at."""
    found = environment.read(
        {
            "NOMAD_ALLOC_ID": BUILT["alloc_id"],
            "NOMAD_JOB_ID": "image-build/dispatch-1-a",
            "NOMAD_TASK_NAME": "test",
            "NOMAD_ALLOC_DIR": str(tmp_path),
            "NOMAD_TASK_DIR": str(tmp_path),
            "NOMAD_SECRETS_DIR": str(tmp_path),
            "NBS_STORAGE_DIR": str(tmp_path / "storage"),
            "NBS_BUILDAH": "/bin/true",
            "NBS_SYFT": "/bin/true",
        }
    )
    with directory(tmp_path, "data", "nbs", create=True) as results:
        write_json(results, "build.json", BUILT)
    log = PhaseLog(os.open(os.devnull, os.O_WRONLY), 1 << 20, Redactor())
    tests = {
        "commands": ["true", "false"],
        "entry_point": False,
        "env": {},
        "network": "none",
        "keep_going": True,
        "processes": 100,
    }
    request = {"owner": "a", "image": "r/a", "platforms": [], "test": tests}
    deadline = Deadline.after(60, full)
    return Phase("test", found, request, log, Redactor(), deadline, {}, datetime.now(UTC))


def test_a_full_disk_ends_tests_that_keep_going(phase: Phase) -> None:
    with pytest.raises(PhaseFailed) as raised:
        test.work(phase)
    assert (raised.value.reason, raised.value.message) == ("OutOfDisk", "only 3 MB are free")
    assert raised.value.details == {"command": "true", "step": "test 1/2"}
    assert len(phase.fields["commands"]) == 1


def test_a_full_disk_fails_no_build_for_its_bill_of_materials(phase: Phase) -> None:
    bill_of_materials.make(phase, BUILT)
    assert phase.log.tail[-1] == "no SBOM: only 3 MB are free"
