"""Why Buildah or skopeo failed: from exit code and error lines to one of the known reasons."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from typing import Any

from controller.tasks import buildah_errors, registry_errors, shell_chain
from controller.tasks.build_progress import BuildProgress
from controller.tasks.copy_failure import copy_hint
from controller.tasks.dockerfile import Dockerfile
from controller.tasks.errors import PhaseFailed
from controller.tasks.memory import MemoryWatch
from controller.tasks.platforms import NATIVE, registration

_LONGEST_MESSAGE, _LONGEST_COMMAND = 600, 1000
_MOST_LINES, _LONGEST_LINE = 20, 400  # of the Dockerfile, in a failure
_FLAGS = re.compile(r"(?:--[a-z][a-z-]*(?:=\S*)?\s+)+")
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
FOREIGN_PROGRAM = (
    "This is no program for this platform: a script without a #! line, or a program, or a base "
    "image, of another architecture."
)
_DISK_HINT = (
    "The step's output says that a disk is full: what the Dockerfile itself writes may have filled "
    "the node's, or a tmpfs mount of limited size. Write less, or ask for more disk."
)
_MOUNT_HINT = (
    "The step requires a secret that the request does not give: add its id and Vault path to "
    "build_secrets, or take required off the mount."
)


def build_failure(
    code: int,
    progress: BuildProgress,
    memory: MemoryWatch,
    dockerfile: str = "",
    *,
    platform: str = NATIVE,
    redact: Callable[[str], str] = str,
) -> PhaseFailed:
    """What a failed `buildah build` for a platform means.

    `dockerfile` is the text that the lines are of; `redact` takes the secrets out of a text.
    """
    failed = _failure(code, progress, dockerfile, platform, redact)
    if memory.killed():
        message = f"{out_of_memory(memory)} ({progress.position})"
        return PhaseFailed("OutOfMemory", message, **failed.details | {"hint": None})
    return failed


def _failure(
    code: int,
    progress: BuildProgress,
    dockerfile: str,
    platform: str,
    redact: Callable[[str], str],
) -> PhaseFailed:
    error = progress.errors[-1] if progress.errors else ""
    words = buildah_errors.own_words(error, progress.source)
    reason = buildah_errors.reason_of(words)
    step = progress.current
    if step is None or words.startswith(buildah_errors.UNANNOUNCED):
        return _unread(reason or "BuildFailed", code, words, progress, dockerfile, redact)
    details = _at_step(progress, dockerfile, redact)
    message = _message(error, words, progress, redact)
    if progress.source.startswith("RUN ") and (
        not error or buildah_errors.ran(error) or (not reason and code != _NOT_OURS)
    ):
        reason, message, more = _run_failure(code, progress, dockerfile, platform, redact)
        details |= more
    elif error and progress.source.startswith(("COPY ", "ADD ")) and reason in (None, "CopyFailed"):
        reason, details["hint"] = "CopyFailed", copy_hint(words, progress.instruction)
    elif reason == "SecretNotFound":
        details["hint"] = _MOUNT_HINT
    return PhaseFailed(
        reason or "BuildFailed",
        f"{message or _silent(code)} ({progress.position})",
        exit_code=code,
        **{"signal": signal_name(code)} | details,
    )


def ended_early(
    why: PhaseFailed, progress: BuildProgress, dockerfile: str, redact: Callable[[str], str]
) -> PhaseFailed:
    """The failure of a build that the runner itself ended, with the step that it had come to."""
    return PhaseFailed(
        why.reason, why.message, **_at_step(progress, dockerfile, redact) | why.details
    )


def _at_step(
    progress: BuildProgress, dockerfile: str, redact: Callable[[str], str]
) -> dict[str, Any]:
    """What a failure says of the present step: empty before the first."""
    step = progress.current
    if step is None:
        return {}
    run = redact(progress.source)[:_LONGEST_COMMAND]
    return {
        "step": f"{step.step}/{step.of}: {step.text}",
        "dockerfile_line": step.line,
        "command": _command(run) if run.startswith("RUN ") else None,
        "dockerfile_text": _text(redact(_written(dockerfile, progress.lines, step.line))),
        "excerpt": progress.excerpt.lines,
    }


def at_image(
    why: PhaseFailed, parsed: Dockerfile, dockerfile: str, redact: Callable[[str], str]
) -> PhaseFailed:
    """The failure of a base image, whose name its message begins with, with where that stands."""
    named = [image for image in parsed.images if why.message.startswith(image)]
    image = max(named, key=len, default="")
    for stage in parsed.stages if image else ():
        for one in stage.instructions:
            named = [word for _, value in one.flags for word in re.split("[=,]", value)]
            if image in (*named, stage.base if one.keyword == "FROM" else ""):
                begins = [other.line for every in parsed.stages for other in every.instructions]
                details = {
                    "step": redact(one.source)[:_LONGEST_COMMAND],
                    "dockerfile_line": one.line,
                    "dockerfile_text": _text(redact(_written(dockerfile, begins, one.line))),
                }
                return PhaseFailed(why.reason, why.message, **details | why.details)
    return why


def signal_name(code: int) -> str | None:
    """The signal behind an exit code of a shell, such as SIGKILL for 137."""
    try:
        return signal.Signals(code - 128).name if code > 128 else None
    except ValueError:
        return None


def _unread(
    reason: str,
    code: int,
    words: str,
    progress: BuildProgress,
    dockerfile: str,
    redact: Callable[[str], str],
) -> PhaseFailed:
    """Buildah failed before a step, or could not read one that it has not announced."""
    found = buildah_errors.at_fault(words, progress.dockerfile)
    line = found.line if found else None
    message = _bounded(buildah_errors.plain(redact(words))) or _silent(code)
    return PhaseFailed(
        reason,
        f"line {line}: {message}" if line else message,
        step=redact(found.source)[:_LONGEST_COMMAND] if found else None,
        dockerfile_line=line,
        exit_code=code,
        signal=signal_name(code),
        dockerfile_text=_text(redact(_written(dockerfile, progress.lines, line))),
        excerpt=progress.excerpt.lines,
    )


def _run_failure(
    code: int,
    progress: BuildProgress,
    dockerfile: str,
    platform: str,
    redact: Callable[[str], str],
) -> tuple[str, str, dict[str, Any]]:
    """Reason, message and details of a RUN step that ended with a code of its own."""
    run = _command(redact(progress.source))
    output = list(progress.output)
    said = "\n".join(output)
    line = progress.current.line if progress.current else None
    script = shell_chain.script(run, redact(_written(dockerfile, progress.lines, line)))
    command = (shell_chain.failed(script, output, code) or run)[:_LONGEST_COMMAND]
    details: dict[str, Any] = {"command": command}
    reason, why = "RunFailed", f"exit status {code}"
    details["hint"] = next((hint for words, hint in _RUN_HINTS if re.search(words, said)), None)
    if re.search(r"[Ee]xec format error", said):
        if any(registration(one) is None for one in progress.platforms(platform)):
            reason, details["hint"] = "PlatformUnavailable", None
        else:
            details["hint"] = FOREIGN_PROGRAM
    elif re.search(buildah_errors.DISK, said):
        reason, details["hint"] = "OutOfDisk", _DISK_HINT
    elif name := signal_name(code) or _SIGNALS.get(progress.ended_on):
        details["signal"] = name
        why = f"killed by {name}"
    return reason, f"{command[:300]}: {why}", details


def _command(step: str) -> str:
    """What a RUN step runs, without its flags, on one line."""
    return _FLAGS.sub("", " ".join(step.removeprefix("RUN ").split()), count=1)


def _message(error: str, words: str, progress: BuildProgress, redact: Callable[[str], str]) -> str:
    """Buildah's words with the step before them, and without what is secret."""
    hidden, step = redact(error), progress.current
    if not hidden.endswith(words):  # a secret ends where they begin
        words = buildah_errors.own_words(hidden, step.text if step else "")
    source = progress.instruction.flag("from") if progress.instruction else None
    told = buildah_errors.plain(words, redact(source) if source else "the build context")
    return _bounded(f"{step.text[:300]}: {told}" if step and told else told)


def _silent(code: int) -> str:
    return f"buildah ended with exit code {code} and no message"


def _written(dockerfile: str, begins: Sequence[int], line: int | None) -> str:
    """The instruction of a line as the author wrote it, with the lines that continue it.

    `begins` are the lines on which instructions begin.
    """
    if line is None or not dockerfile:
        return ""
    lines = dockerfile.split("\n")
    end = min((one for one in begins if one > line), default=len(lines) + 1)
    found = lines[line - 1 : end - 1]
    while found and (not found[-1].strip() or found[-1].lstrip().startswith("#")):
        found.pop()
    return "\n".join(line.rstrip("\r") for line in found)


def _text(written: str) -> str | None:
    lines = written.split("\n")[:_MOST_LINES]
    return "\n".join(line[:_LONGEST_LINE] for line in lines) or None


def out_of_memory(memory: MemoryWatch) -> str:
    """Words for a task that reached its memory limit."""
    limit = memory.limit_mb()
    return "the kernel killed a process: the task used all its memory" + (
        f" of {limit} MB" if limit else ""
    )


def pull_failure(image: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed pull of a base image means. Both `said` lines of stdout and stderr will do."""
    error = registry_errors.last(said)
    return PhaseFailed(
        registry_errors.pull_reason(error), f"{image}: {_bounded(buildah_errors.plain(error))}"
    )


def push_failure(reference: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed push means."""
    error = registry_errors.last(said)
    return PhaseFailed(
        registry_errors.push_reason(error), f"{reference}: {_bounded(buildah_errors.plain(error))}"
    )


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"
