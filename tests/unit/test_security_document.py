"""SECURITY.md promises a test for each defence: they exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "SECURITY.md").read_text()))
    written = {
        name
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 40
    assert named - written == set()


def test_every_threat_has_a_test() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text()
    table = text.partition("## Threats")[2].partition("## Not defended")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row] == []
