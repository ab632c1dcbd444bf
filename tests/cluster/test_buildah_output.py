"""What a command in an image writes arrives whole: see nomad/toolchain/buildah/patches."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from subprocess import Popen

import pytest
from builds import eventually

from cluster.buildah import Buildah
from cluster.cluster import Cluster

PIECE = 16 << 10  # bytes
WRITE = "yes 0123456789abcdef | head -n {lines}; echo last words >&2; exit 3"
BACKGROUND = "(while :; do echo more; done) & echo began; exit 0"


@pytest.fixture(scope="module")
def container(cluster: Cluster) -> Iterator[str]:
    buildah = cluster.buildah
    with buildah.scratch() as scratch:
        auth = buildah.auth_file(scratch, cluster.registry.credentials)
        buildah.give(scratch)
        name = buildah.run(
            ["from", "--quiet", "--tls-verify=false", f"--authfile={auth}", cluster.base_image]
        ).output.strip()
        yield name
        buildah.run(["rm", name])


@pytest.mark.parametrize("lines", [1, 7000, 20_000])
def test_the_last_words_of_a_command_arrive(cluster: Cluster, container: str, lines: int) -> None:
    """The reader takes a piece at a time, and only when nothing more comes into the pipe."""
    with run(cluster.buildah, container, WRITE.format(lines=lines)) as started:
        assert started.stdout is not None
        output, pipe = b"", started.stdout.fileno()
        while True:
            before = [0]
            eventually("the writer waits or has ended", lambda: waits(started, pipe, before))  # noqa: B023
            if not (piece := os.read(pipe, PIECE)):
                break
            output += piece
    assert b"last words\n" in output
    assert output.count(b"0") == lines  # others may have written into the middle of a line
    assert started.returncode == 3


def test_a_process_that_stays_and_writes_keeps_nobody(cluster: Cluster, container: str) -> None:
    with run(cluster.buildah, container, BACKGROUND) as started:
        output, _ = started.communicate(timeout=30)
    assert output.startswith(b"began\n") or b"\nbegan\n" in output
    assert started.returncode == 0


def run(buildah: Buildah, container: str, script: str) -> Popen[bytes]:
    return buildah.start(["run", "--isolation", "chroot", container, "--", "sh", "-c", script])


def waits(started: Popen[bytes], pipe: int, before: list[int]) -> bool:
    """Whether the pipe holds what it held `before`: its writer waits, or there is none."""
    held = int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])
    same, before[0] = held == before[0] > 0, held
    return same or started.poll() is not None
