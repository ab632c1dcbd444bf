"""The documentation's tables are made from the code and fresh."""

from __future__ import annotations

import reference
from controller.contract.reasons import REASONS


def test_reference_tables_are_fresh() -> None:
    for path, text in reference.fresh().items():
        assert path.read_text() == text, f"{path.name}: run python scripts/reference.py"


def test_reference_has_every_row() -> None:
    assert reference.variables().count("\n") > 30
    text = reference.REFERENCE.read_text()
    assert all(f"`{name}`" in text for name in REASONS)
    assert "nomad_addr" in reference.settings()
    assert "build_duration_seconds" in reference.metrics()
