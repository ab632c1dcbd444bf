"""Why a build failed: step, line and command, and one of the known reasons.

Texts are cut for the answer, and a secret that was cut is no longer found: so what is shown goes
through `redact` before that.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import buildah_errors, shell_chain
from controller.tasks.failures.build_progress import BuildProgress
from controller.tasks.failures.copy_failure import copy_hint
from controller.tasks.failures.diagnosis import FOREIGN_PROGRAM, bounded, out_of_memory, signal_name
from controller.tasks.isolation.memory import MemoryWatch
from controller.tasks.isolation.platforms import NATIVE, registration

_LONGEST_COMMAND = 1000
_MOST_LINES, _LONGEST_LINE = 20, 400  # of the Dockerfile, in a failure
_FLAGS = re.compile(r"\A(?:--[a-z][a-z-]*(?:=\S*)?\s+)+")  # of a step that is no instruction
_SIGNALS = {(signal.strsignal(one) or "").lower(): one.name for one in signal.Signals}
_NOT_OURS = 125  # Buildah's code for its own errors; a failed RUN gives its own code
_RUN_HINTS = (
    (
        r"Could not resolve host|Temporary failure (?:in name resolution|resolving)|bad address"
        r"|Name or service not known|Network is unreachable|EAI_AGAIN|no such host"
        r"|connect\b.*: Invalid argument",
        "The step could not reach a host. RUN steps have the public network only: private "
        "addresses need the pack variable build_network_allow, and build_network none has none.",
    ),
    (
        r"Read-only file system",
        "The step wrote to a read-only mount: add rw to RUN --mount, or write elsewhere.",
    ),
)
_DISK_HINT = (
    "The step's output says that a disk is full: what the Dockerfile itself writes may have filled "
    "the node's, or a tmpfs mount of limited size. Write less, or ask for more disk."
)
_MOUNT_HINT = (
    "The step requires a secret that the request does not give: add its id and Vault path to "
    "build_secrets, or take required off the mount."
)


@dataclass(frozen=True, slots=True)
class Written:
    """A Dockerfile as its author wrote it, and as it was read; lines are the author's.

    `redact` takes the secrets out of a line.
    """

    text: str
    parsed: Dockerfile
    redact: Callable[[str], str] = str

    def instruction(self, line: int | None) -> str:
        """The instruction of a line, with the lines that continue it."""
        if line is None or not self.text:
            return ""
        lines = self.text.split("\n")
        begins = [one.line for stage in self.parsed.stages for one in stage.instructions]
        end = min((one for one in begins if one > line), default=len(lines) + 1)
        found = lines[line - 1 : end - 1]
        while found and (not found[-1].strip() or found[-1].lstrip().startswith("#")):
            found.pop()
        return "\n".join(self.redact(one.rstrip("\r")) for one in found)

    def shown(self, line: int | None) -> str | None:
        """As much of it as a failure shows."""
        lines = self.instruction(line).split("\n")[:_MOST_LINES]
        return "\n".join(one[:_LONGEST_LINE] for one in lines) or None


class BuildDiagnosis:
    """What is said of a build for a platform that did not succeed."""

    def __init__(
        self, progress: BuildProgress, written: Written, *, platform: str = NATIVE
    ) -> None:
        self._progress = progress
        self._written = written
        self._redact = written.redact
        self._platform = platform

    def failure(self, code: int, memory: MemoryWatch) -> PhaseFailed:
        """What it means that Buildah ended with this code."""
        failed = self._failure(code)
        if memory.killed():
            message = f"{out_of_memory(memory)} ({self._progress.position})"
            return PhaseFailed("OutOfMemory", message, **failed.details | {"hint": None})
        return failed

    def ended_early(self, why: PhaseFailed) -> PhaseFailed:
        """The failure of a build that the runner itself ended, with the step it had come to."""
        return PhaseFailed(why.reason, why.message, **self._at_step() | why.details)

    def _failure(self, code: int) -> PhaseFailed:
        progress = self._progress
        error = progress.errors[-1] if progress.errors else ""
        words = buildah_errors.own_words(error, progress.source)
        reason = buildah_errors.reason_of(words)
        if progress.current is None or words.startswith(buildah_errors.UNANNOUNCED):
            return self._unread(reason or "BuildFailed", code, words)
        keyword = progress.source.partition(" ")[0]
        details, message = self._at_step(), self._message(error, words)
        if keyword == "RUN" and (
            not error or buildah_errors.ran(error) or (not reason and code != _NOT_OURS)
        ):
            reason, message, more = self._run(code)
            details |= more
        elif keyword in ("COPY", "ADD") and error and reason in (None, "CopyFailed"):
            reason, details["hint"] = "CopyFailed", copy_hint(words, progress.instruction)
        elif reason == "SecretNotFound":
            details["hint"] = _MOUNT_HINT
        return PhaseFailed(
            reason or "BuildFailed",
            f"{message or _silent(code)} ({progress.position})",
            exit_code=code,
            **{"signal": signal_name(code)} | details,
        )

    def _at_step(self) -> dict[str, Any]:
        """What a failure says of the present step: empty before the first."""
        step = self._progress.current
        if step is None:
            return {}
        return {
            "step": f"{step.step}/{step.of}: {step.text}",
            "dockerfile_line": step.line,
            "command": self._command()[:_LONGEST_COMMAND] or None,
            "dockerfile_text": self._written.shown(step.line),
            "excerpt": self._progress.excerpt.lines,
        }

    def _unread(self, reason: str, code: int, words: str) -> PhaseFailed:
        """Buildah failed before a step, or could not read one that it has not announced."""
        found = buildah_errors.at_fault(words, self._progress.dockerfile)
        line = found.line if found else None
        message = bounded(buildah_errors.plain(self._redact(words))) or _silent(code)
        return PhaseFailed(
            reason,
            f"line {line}: {message}" if line else message,
            step=self._redact(found.source)[:_LONGEST_COMMAND] if found else None,
            dockerfile_line=line,
            exit_code=code,
            signal=signal_name(code),
            dockerfile_text=self._written.shown(line),
            excerpt=self._progress.excerpt.lines,
        )

    def _run(self, code: int) -> tuple[str, str, dict[str, Any]]:
        """Reason, message and details of a RUN step that ended with a code of its own."""
        progress, run = self._progress, self._command()
        said = "\n".join(progress.output)
        written = self._written.instruction(progress.current.line if progress.current else None)
        script = shell_chain.script(run, written)
        command = (shell_chain.failed(script, progress.output, code) or run)[:_LONGEST_COMMAND]
        hint = next((hint for words, hint in _RUN_HINTS if re.search(words, said)), None)
        reason, why, name = "RunFailed", f"exit status {code}", None
        if re.search(r"[Ee]xec format error", said):
            hint = FOREIGN_PROGRAM
            if any(registration(one) is None for one in progress.platforms(self._platform)):
                reason, hint = "PlatformUnavailable", None
        elif re.search(buildah_errors.DISK, said):
            reason, hint = "OutOfDisk", _DISK_HINT
        elif name := signal_name(code) or _SIGNALS.get(progress.ended_on):
            why = f"killed by {name}"
        details = {"command": command, "hint": hint, "signal": name or signal_name(code)}
        return reason, f"{command[:300]}: {why}", details

    def _command(self) -> str:
        """What a RUN step runs, without its flags, on one line; empty for any other step."""
        keyword, _, run = self._progress.source.partition(" ")
        if keyword != "RUN":
            return ""
        instruction = self._progress.instruction
        run = instruction.text if instruction else _FLAGS.sub("", run)
        return " ".join(self._redact(run).split())

    def _message(self, error: str, words: str) -> str:
        """Buildah's words with the step before them, and without what is secret."""
        step, instruction = self._progress.current, self._progress.instruction
        hidden = self._redact(error)
        if not hidden.endswith(words):  # a secret ends where they begin
            words = buildah_errors.own_words(hidden, step.text if step else "")
        source = instruction.flag("from") if instruction else None
        told = buildah_errors.plain(words, self._redact(source) if source else "the build context")
        return bounded(f"{step.text[:300]}: {told}" if step and told else told)


def _silent(code: int) -> str:
    return f"buildah ended with exit code {code} and no message"
