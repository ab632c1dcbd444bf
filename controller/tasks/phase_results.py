"""Results of earlier phases, read as what they are: files that untrusted code may have touched."""

from __future__ import annotations

import json
from typing import Any

from controller.contract.results import MAX_RESULT_BYTES, parse_phase_result
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.untrusted_files import directory, read_bytes

# Three of them and a failure fit into an outcome, which is read with the same limit.
_MOST = MAX_RESULT_BYTES // 5


def of_bounded_size(result: dict[str, Any], most: int = _MOST) -> dict[str, Any]:
    """The result, small enough to be read back: of long lists the middle is left out."""
    failed = result.get("failure") or {}
    lists = [result.get("steps"), result.get("commands"), failed.get("log_tail")]
    while _size(result) > most:
        longest: list[Any] = max((one for one in lists if one), key=_size, default=[])
        if not longest:
            break
        kept = len(longest) // 3
        del longest[kept : len(longest) - kept]
    return result


def _size(document: Any) -> int:
    return len(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))


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
