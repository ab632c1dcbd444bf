"""Why a build failed, in one answer that an agent can act on. Pure.

The answer has a bound, because it goes into somebody's context whole: the log's lines give way
first, from their beginning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from controller import problem
from controller.logs.excerpt import CHARACTERS_PER_TOKEN, cut
from controller.status import intermediate
from controller.status.build import Build, Status

MAX_TOKENS = 2000
ERRORS = (
    r"(?i)\b(error|fatal|panic|exception|traceback|failed|failure|cannot|can't|denied|refused|"
    r"not found|no such|undefined|unresolved|killed)\b"
)
_BOUND = MAX_TOKENS * CHARACTERS_PER_TOKEN  # characters of the answer as JSON
_LINE, _MESSAGE, _COMMAND = 240, 800, 600  # characters
_AGAIN = {
    True: "Until then submitJob again, with a new idempotency_key, may help.",
    False: "Submitting again unchanged will not help.",
}
_NEXT = {
    "author": "Correct the repository or the request as the hint says, then submitJob again. "
    "More of the log: getLogs with phase {phase!r}, and search for a part of the message.",
    "operator": "This is for the operators of the cluster: pass on reason, message and job_id. "
    "{again}",
    "transient": "submitJob again with the same request and a new idempotency_key.",
}


def view(build: Build, errors: Sequence[str] = ()) -> dict[str, Any]:
    """The answer of getFailure. `errors` are numbered lines of the log that look like errors."""
    answer: dict[str, Any] = {"job_id": build.job_id, "status": str(build.status)}
    if build.failure is None:
        return answer | {"failed": False, "message": build.message, "next": _not_failed(build)}
    failure, config = build.failure, build.config or {}
    answer |= {
        "failed": True,
        "phase": failure["phase"],
        "reason": failure["reason"],
        "message": cut(failure["message"], _MESSAGE),
        "step": failure.get("step") and cut(failure["step"], _COMMAND),
        "dockerfile": config.get("dockerfile_path"),
        "dockerfile_line": failure.get("dockerfile_line"),
        "dockerfile_text": failure.get("dockerfile_text")
        and cut(failure["dockerfile_text"], _COMMAND),
        "command": failure.get("command") and cut(failure["command"], _COMMAND),
        "exit_code": failure.get("exit_code"),
        "signal": failure.get("signal"),
        "fix_owner": failure.get("fix_owner"),
        "retryable": failure.get("retryable"),
        "hint": failure.get("hint"),
        "excerpt": [],
        "error_lines": [],
        "log_tail": [],
        "repo_url": config.get("repo_url"),
        "git_ref": config.get("git_ref"),
        "commit": build.commit,
        "documentation": f"{problem.PAGE}#reason-{failure['reason']}",
        "intermediate": intermediate.reproduction(build),
        "next": _NEXT[failure.get("fix_owner") or "author"].format(
            phase=failure["phase"], again=_AGAIN[bool(failure.get("retryable"))]
        ),
    }
    excerpt = [cut(line, _LINE) for line in failure.get("excerpt") or []]
    _fill(answer, "excerpt", excerpt, share=0.5, newest=False)
    tail = [cut(line, _LINE) for line in failure.get("log_tail") or []]
    in_tail = {*tail, *excerpt}
    found = [
        cut(line, _LINE)
        for line in errors
        if line != "--" and cut(line.partition(":")[2], _LINE) not in in_tail
    ]
    _fill(answer, "log_tail", tail, share=0.7, newest=True)
    _fill(answer, "error_lines", found, share=1.0, newest=False)
    return answer


def _fill(
    answer: dict[str, Any], name: str, lines: list[str], *, share: float, newest: bool
) -> None:
    """Put in as many lines as the bound leaves room for; of that room at most a share."""
    room = (_BOUND - len(json.dumps(answer, ensure_ascii=False))) * share
    kept: list[str] = []
    for line in reversed(lines) if newest else lines:
        room -= len(json.dumps(line, ensure_ascii=False)) + 2
        if room < 0:
            break
        kept.append(line)
    answer[name] = kept[::-1] if newest else kept


def _not_failed(build: Build) -> str:
    if build.status is Status.CANCELLED:
        return "nothing to mend: the build was stopped; submitJob again if it is still wanted"
    if build.status.final:
        return "nothing to mend: the build succeeded"
    return "the build has not ended: call waitForJob"
