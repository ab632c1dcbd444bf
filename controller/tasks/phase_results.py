"""Results of earlier phases, read as what they are: files that untrusted code may have touched."""

from __future__ import annotations

from typing import Any

from controller.contract.results import parse_phase_result
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.untrusted_files import directory, read_bytes


def read_result(environment: TaskEnvironment, phase: str) -> dict[str, Any] | None:
    """A phase's result, None while there is none. Raises PhaseFailed(TamperedResult)."""
    try:
        with directory(environment.alloc_dir, "data", "nbs") as handle:
            raw = read_bytes(handle, f"{phase}.json")
        return parse_phase_result(raw, phase=phase, alloc_id=environment.alloc_id)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PhaseFailed(
            "TamperedResult", f"the result of phase {phase} cannot be trusted: {error}"
        ) from error
