"""Why Buildah or skopeo failed: from exit code and error lines to one of the known reasons.

The patterns are texts seen from Buildah 1.44 and skopeo 1.9 against real registries; the tests feed
real output. First match wins, so the precise ones stand first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller.tasks.build_progress import BuildProgress
from controller.tasks.errors import PhaseFailed
from controller.tasks.memory import MemoryWatch

_LONGEST_MESSAGE = 600
_NOT_OURS = 125  # Buildah's code for its own errors; a failed RUN gives its own code

_UNAVAILABLE = (
    r"connection refused|no such host|i/o timeout|TLS handshake|connection reset"
    r"|server gave HTTP response|x509:|context deadline exceeded|network is unreachable"
    r"|unexpected EOF|(?:status|code):? 5\d\d|received unexpected HTTP status: 5\d\d"
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

_BUILD = (
    (_DISK, "OutOfDisk"),
    (
        r"no FROM statement found|[Uu]nknown instruction|Syntax error|parse error"
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


def build_failure(code: int, progress: BuildProgress, memory: MemoryWatch) -> PhaseFailed:
    """What a failed `buildah build` means."""
    error = progress.errors[-1] if progress.errors else ""
    step = progress.current
    reason = _match(_BUILD, error) or (
        "BuildFailed" if code == _NOT_OURS or not step else "RunFailed"
    )
    message = _message(error) or f"buildah ended with exit code {code} and no message"
    if reason == "RunFailed" and step:
        message = f"{step.text[:300]}: exit status {code}"
    if memory.killed():
        reason, message = "OutOfMemory", out_of_memory(memory)
    return PhaseFailed(
        reason,
        f"{message} ({progress.position})" if step else message,
        step=f"{step.step}/{step.of}: {step.text}" if step else None,
        dockerfile_line=step.line if step else None,
        command=step.text.removeprefix("RUN ") if step and step.text.startswith("RUN ") else None,
        exit_code=code,
    )


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
