"""Reasons from real output of Buildah 1.44 and skopeo 1.9."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.contract.reasons import REASONS
from controller.tasks.build_progress import BuildProgress
from controller.tasks.diagnosis import build_failure, pull_failure, push_failure
from controller.tasks.dockerfile import parse
from controller.tasks.memory import MemoryWatch

DOCKERFILE = """FROM base AS made
RUN echo one && \\
    exit 42
FROM base
COPY --from=made /x /x
RUN echo one
"""
QUIET = MemoryWatch(Path("/nonexistent"), Path("/nonexistent"))


def progress(*lines: str) -> BuildProgress:
    result = BuildProgress(parse(DOCKERFILE, {}))
    for line in lines:
        result.feed("stderr" if line.startswith(("Error", "subprocess")) else "stdout", line)
    return result


def test_diagnosis_failed_run_has_line_command_and_code() -> None:
    failed = build_failure(
        42,
        progress(
            "[1/2] STEP 1/2: FROM base AS made",
            "[1/2] STEP 2/2: RUN echo one &&     exit 42",
            'Error: building at STEP "RUN echo one &&     exit 42": exit status 42',
        ),
        QUIET,
    )
    assert failed.reason == "RunFailed"
    assert failed.details["dockerfile_line"] == 2
    assert failed.details["command"] == "echo one && exit 42"
    assert failed.details["exit_code"] == 42
    assert "in step 2/2 of stage 1" in failed.message


def test_diagnosis_lines_of_the_second_stage() -> None:
    steps = progress(
        "[1/2] STEP 1/2: FROM base AS made",
        "[1/2] STEP 2/2: RUN echo one &&     exit 42",
        "--> Using cache 0123",
        "[2/2] STEP 1/4: FROM base",
        "[2/2] STEP 2/4: COPY --from=made /x /x",
        "[2/2] STEP 3/4: RUN echo one",
        '[2/2] STEP 4/4: LABEL "a"="b"',
    ).steps
    assert [step.line for step in steps] == [1, 2, 4, 5, 6, None]
    assert [step.cached for step in steps] == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            'building at STEP "COPY missing.txt /x": checking on sources under "/s": copier: stat: '
            '"/missing.txt": no such file or directory',
            "CopyFailed",
        ),
        ('building at STEP "RUNN ": Build error: Unknown instruction: "RUNN"', "DockerfileInvalid"),
        (
            'building at STEP "COPY --from=nope /a /b": COPY --from=nope: no stage or image found '
            "with that name",
            "DockerfileInvalid",
        ),
        ('building at STEP "RUN dd": write /big: no space left on device', "OutOfDisk"),
        ("creating build container: base: image not known", "BaseImageNotFound"),
        (
            'building at STEP "RUN x": setting "RLIMIT_NOFILE" limit: operation not permitted',
            "BuildFailed",
        ),
        ("something that nobody has seen", "BuildFailed"),
    ],
)
def test_diagnosis_of_buildahs_errors(error: str, reason: str) -> None:
    failed = build_failure(125, progress("STEP 1/2: FROM base", f"Error: {error}"), QUIET)
    assert failed.reason == reason
    assert failed.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("reading manifest 1 in r.example/x: manifest unknown", "BaseImageNotFound"),
        (
            "reading manifest 1 in r.example/x: unauthorized: authentication required",
            "BaseImageAuthenticationFailed",
        ),
        (
            'pinging container registry r: Get "https://r/v2/": dial tcp: lookup r: no such host',
            "BaseImageUnavailable",
        ),
    ],
)
def test_diagnosis_of_pulls(error: str, reason: str) -> None:
    said = ["Trying to pull x...", f"Error: initializing source docker://x: {error}"]
    assert pull_failure("x", said).reason == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "checking whether a blob sha256:0 exists in r/x: unauthorized: authentication required",
            "RegistryAuthenticationFailed",
        ),
        (
            "writing blob: denied: requested access to the resource is denied",
            "RegistryAuthenticationFailed",
        ),
        ("pinging container registry r: connect: connection refused", "RegistryUnavailable"),
        (
            "writing manifest: uploading manifest v1: received unexpected HTTP status: 503 Service",
            "RegistryUnavailable",
        ),
        ("writing manifest: manifest invalid", "PublishFailed"),
    ],
)
def test_diagnosis_of_pushes(error: str, reason: str) -> None:
    assert push_failure("r/x:1", [f"Error: {error}"]).reason == reason


def test_diagnosis_memory_decides_before_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/n/a.build\n0::/x\n")
    folder = tmp_path / "memory" / "n" / "a.build"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(256 << 20))
    (folder / "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    watch = MemoryWatch(tmp_path, tmp_path / "cgroup")
    assert not watch.killed()
    (folder / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    failed = build_failure(
        1,
        progress(
            "STEP 1/2: FROM base",
            "STEP 2/2: RUN x",
            'Error: building at STEP "RUN x": exit status 1',
        ),
        watch,
    )
    assert failed.reason == "OutOfMemory"
    assert "256 MB" in failed.message


def test_diagnosis_memory_of_the_second_cgroup_version(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup").write_text("0::/nomad.slice/a.build.scope\n")
    folder = tmp_path / "nomad.slice" / "a.build.scope"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("max\n")
    (folder / "memory.events").write_text("oom 0\noom_kill 0\n")
    watch = MemoryWatch(tmp_path, tmp_path / "cgroup")
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert watch.killed()
    assert watch.limit_mb() is None


def test_diagnosis_knows_a_command_that_buildah_never_started() -> None:
    """Symptom: a RUN or test failed with exit code 1 once in hundreds. Cause: see `sealing`."""
    refusal = "Close_Fd sealing memfd copy: Device or resource busy"
    seen = progress("STEP 1/2: FROM base", "STEP 2/2: RUN x")
    seen.feed("stdout", refusal)
    assert not seen.not_started
    seen.feed("stderr", refusal)
    assert seen.not_started
    seen.feed("stdout", "STEP 2/2: RUN x")
    assert not seen.not_started


def test_every_reason_has_an_owner_and_a_hint() -> None:
    for reason in REASONS.values():
        assert reason.fix_owner in ("author", "operator", "transient")
        assert reason.hint.endswith(".")
