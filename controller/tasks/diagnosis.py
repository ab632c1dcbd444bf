"""Why Buildah or skopeo failed: from exit code and error lines to one of the known reasons.

The patterns are texts seen from Buildah 1.44 and skopeo 1.9 against real registries; the tests feed
real output. First match wins, so the precise ones stand first.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Any

from controller.tasks import shell_chain
from controller.tasks.build_progress import BuildProgress, Step
from controller.tasks.errors import PhaseFailed
from controller.tasks.memory import MemoryWatch

_LONGEST_MESSAGE = 600
_MOST_LINES, _LONGEST_LINE = 20, 400  # of the Dockerfile, in a failure
_FLAGS = re.compile(r"(?:--[a-z][a-z-]*(?:=\S*)?\s+)+")
_SIGNALS = {(signal.strsignal(one) or "").lower(): one.name for one in signal.Signals}
_RUN_HINTS = (
    (
        r"Could not resolve host|Temporary failure (?:in name resolution|resolving)|bad address"
        r"|Name or service not known|Network is unreachable|EAI_AGAIN|no such host",
        "The step could not reach a host. RUN steps have the public network only: private "
        "addresses need the pack variable build_network_allow, and build_network none has none.",
    ),
    (
        r"Read-only file system",
        "The step wrote to a read-only mount: add rw to RUN --mount, or write elsewhere.",
    ),
)
_NOT_OURS = 125  # Buildah's code for its own errors; a failed RUN gives its own code

_UNAVAILABLE = (
    r"connection refused|no such host|i/o timeout|TLS handshake|connection reset"
    r"|server gave HTTP response|x509:|context deadline exceeded|network is unreachable"
    r"|\bEOF\b|broken pipe|use of closed network connection"
    r"|(?:status|code):? 5\d\d|received unexpected HTTP status: 5\d\d"
    r"|toomanyrequests|Too Many Requests"
)
_UNAUTHORIZED = (
    r"unauthorized|authentication required|access to the requested resource is not"
    r" authorized|denied: |requested access to the resource is denied|status: 40[13]"
    r"|invalid username/password"
)

_DISK = r"[Nn]o space left on device|disk quota exceeded|Disk quota exceeded"

_NOISE = (
    (r"^(?:Error: |time=\"[^\"]*\" level=fatal msg=\"?)", ""),
    (r"parsing main Dockerfile: \S+: ", ""),
    (r"building at STEP \"([^\"]*)\": ", r"\1: "),
    (
        r"checking on sources under \"[^\"]*\": copier: (?:stat|get): (\"[^\"]*\"): no such file.*",
        r"the build context has no \1",
    ),
    (
        r"(?:creating build container: )?(?:unable to copy from source \S+ )?"
        r"initializing source \S+ ",
        "",
    ),
    (r"pushing image \S+ to \S+ ", ""),
    (r"trying to reuse blob \S+ at destination: ", ""),
    (r" &imagebuilder\.Step\{.*", ""),
)

_STORAGE = (
    r"'overlay' is not supported over|unsupported: using.*overlay|kernel does not support overlay"
    r"|fuse-overlayfs|/dev/fuse|mount_program|creating overlay mount"
)
_NAMESPACE = (
    r"unshare\(CLONE_NEWUSER\)|newuidmap|newgidmap|no subuid ranges|potentially insufficient UIDs"
)

_BUILD = (
    (_DISK, "OutOfDisk"),
    (_STORAGE, "StorageUnavailable"),
    (_NAMESPACE, "UserNamespaceUnavailable"),
    (
        r"parsing main Dockerfile|no FROM statement found|[Uu]nknown instruction|Syntax error"
        r"|parse error"
        r"|requires (?:exactly|at least) |failed to parse|unknown flag",
        "DockerfileInvalid",
    ),
    (
        r"COPY --from=\S+: no stage or image found|no such stage|target .* not found"
        r"|the target .* was not found",
        "DockerfileInvalid",
    ),
    (r"secret required but no secret", "SecretNotFound"),
    (r"building at STEP \"(?:COPY|ADD) ", "CopyFailed"),
    (r"image not known|manifest unknown|name unknown", "BaseImageNotFound"),
    (r"building at STEP \"RUN [\s\S]*: exit status \d+$", "RunFailed"),
)

_PULL = (
    (_DISK, "OutOfDisk"),
    (_STORAGE, "StorageUnavailable"),
    (_NAMESPACE, "UserNamespaceUnavailable"),
    (
        r"manifest unknown|name unknown|not found|no image found|image not known",
        "BaseImageNotFound",
    ),
    (_UNAUTHORIZED, "BaseImageAuthenticationFailed"),
    (_UNAVAILABLE, "BaseImageUnavailable"),
)

_PUSH = (
    (_UNAVAILABLE, "RegistryUnavailable"),
    (_UNAUTHORIZED, "RegistryAuthenticationFailed"),
    (_DISK, "OutOfDisk"),
)


def build_failure(
    code: int, progress: BuildProgress, memory: MemoryWatch, dockerfile: str = ""
) -> PhaseFailed:
    """What a failed `buildah build` means. `dockerfile` is the text that the lines are of."""
    error = progress.errors[-1] if progress.errors else ""
    step = progress.current
    reason = _match(_BUILD, error) or (
        "BuildFailed" if code == _NOT_OURS or not step else "RunFailed"
    )
    message = _message(error) or f"buildah ended with exit code {code} and no message"
    run = step.text.removeprefix("RUN ") if step and step.text.startswith("RUN ") else None
    details: dict[str, Any] = {}
    if reason == "RunFailed" and step and run is not None:
        reason, message, details = _run_failure(code, step, progress)
    if memory.killed():
        reason, message = "OutOfMemory", out_of_memory(memory)
    return PhaseFailed(
        reason,
        f"{message} ({progress.position})" if step else message,
        step=f"{step.step}/{step.of}: {step.text}" if step else None,
        dockerfile_line=step.line if step else None,
        command=details.get("command") or run,
        exit_code=code,
        signal=signal_name(code) or details.get("signal"),
        hint=details.get("hint"),
        dockerfile_text=_text(dockerfile, progress, step) if step else None,
        excerpt=progress.excerpt.lines,
    )


def signal_name(code: int) -> str | None:
    """The signal behind an exit code of a shell, such as SIGKILL for 137."""
    try:
        return signal.Signals(code - 128).name if code > 128 else None
    except ValueError:
        return None


def _run_failure(code: int, step: Step, progress: BuildProgress) -> tuple[str, str, dict[str, Any]]:
    """Reason, message and details of a RUN step that ended with a code of its own."""
    run = _without_flags(step.text.removeprefix("RUN "))
    output = list(progress.output)
    said = "\n".join(output)
    command = shell_chain.failed(run, output, code)
    details: dict[str, Any] = {"command": command or run}
    reason, why = "RunFailed", f"exit status {code}"
    if re.search(r"[Ee]xec format error", said):
        reason = "PlatformUnavailable"
    elif re.search(_DISK, said):
        reason = "OutOfDisk"
    elif name := signal_name(code) or _SIGNALS.get(progress.ended_on):
        details["signal"] = name
        why = f"killed by {name}"
    if hint := next((words for pattern, words in _RUN_HINTS if re.search(pattern, said)), None):
        details["hint"] = hint
    return reason, f"{(command or run)[:300]}: {why}", details


def _without_flags(run: str) -> str:
    return _FLAGS.sub("", run, count=1)


def _text(dockerfile: str, progress: BuildProgress, step: Step) -> str | None:
    """The instruction of a step as the author wrote it, with the lines that continue it."""
    if step.line is None or not dockerfile:
        return None
    lines = dockerfile.split("\n")
    end = min((line for line in progress.lines if line > step.line), default=len(lines) + 1)
    found = lines[step.line - 1 : min(end - 1, step.line - 1 + _MOST_LINES)]
    while found and (not found[-1].strip() or found[-1].lstrip().startswith("#")):
        found.pop()
    return "\n".join(line.rstrip("\r")[:_LONGEST_LINE] for line in found) or None


def out_of_memory(memory: MemoryWatch) -> str:
    """Words for a task that reached its memory limit."""
    limit = memory.limit_mb()
    return "the kernel killed a process: the task used all its memory" + (
        f" of {limit} MB" if limit else ""
    )


def pull_failure(image: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed pull of a base image means. Both `said` lines of stdout and stderr will do."""
    error = _last_error(said)
    reason = _match(_PULL, error) or "BaseImageUnavailable"
    return PhaseFailed(reason, f"{image}: {_message(error)}")


def push_failure(reference: str, said: Sequence[str]) -> PhaseFailed:
    """What a failed push means."""
    error = _last_error(said)
    reason = _match(_PUSH, error) or "PublishFailed"
    return PhaseFailed(reason, f"{reference}: {_message(error)}")


def _match(table: Sequence[tuple[str, str]], error: str) -> str | None:
    return next((reason for pattern, reason in table if re.search(pattern, error)), None)


def _last_error(said: Sequence[str]) -> str:
    wanted = [line for line in said if re.search(r"Error|error|FATA|level=fatal", line)]
    return (wanted or list(said) or ["no message"])[-1]


def _message(error: str) -> str:
    """Buildah's words without the wrapping that says nothing to who reads them."""
    text = error.rstrip('"')
    for pattern, replacement in _NOISE:
        text = re.sub(pattern, replacement, text)
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"
