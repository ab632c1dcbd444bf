"""Programs that a phase runs: output line by line, a deadline, and a group that dies as a whole."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from controller.tasks.errors import DeadlinePassed

OnLine = Callable[[str, str], None]

TERM_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_PIPE_GRACE = 1.0  # seconds that a pipe may stay open once its program has ended
_LONGEST_LINE = 64 << 10


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock by which something must have ended."""

    at: float
    seconds: int
    guard: Callable[[], None] | None = None

    @classmethod
    def after(cls, seconds: int, guard: Callable[[], None] | None = None) -> Deadline:
        """A deadline so many seconds from now; `guard` is asked along with the clock."""
        return cls(time.monotonic() + seconds, seconds, guard)

    def check(self) -> None:
        """Raise DeadlinePassed once it is, or whatever `guard` raises."""
        if not self.remaining:
            raise DeadlinePassed
        if self.guard:
            self.guard()

    def guarded(self, guard: Callable[[], None]) -> Deadline:
        """The same moment, with one guard more."""
        before = self.guard

        def check() -> None:
            if before:
                before()
            guard()

        return Deadline(self.at, self.seconds, check)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer; for the main thread, not to be nested.

    A socket's timeout begins anew with each byte: a server that drips would never reach it.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no whole answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Program:
    """A started program with its output pipes; the leader of a process group of its own."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdin: bytes | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._popen = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if stdin is not None and self._popen.stdin:
            # Small enough (a request, a password) for the pipe's buffer: this cannot block.
            self._popen.stdin.write(stdin)
            self._popen.stdin.close()

    @property
    def pid(self) -> int:
        """The process ID, which is also that of its group."""
        return self._popen.pid

    def wait(self, on_line: OnLine, deadline: Deadline, *, stdout: _Bytes | None = None) -> int:
        """Hand every line to `on_line(stream, text)` until the program ends; its exit code.

        A death by signal N is returned as 128 + N, as shells do. Raises DeadlinePassed after
        killing the group; whatever else is raised meanwhile also kills the group first.
        """
        try:
            self._read(
                {
                    "stdout": stdout or _Lines("stdout", on_line),
                    "stderr": _Lines("stderr", on_line),
                },
                deadline,
            )
            code = self._popen.wait()
        except BaseException:
            self.kill()
            raise
        finally:
            for pipe in (self._popen.stdout, self._popen.stderr):
                if pipe:
                    pipe.close()
        return 128 - code if code < 0 else code

    def read_all(
        self, on_error_line: Callable[[str], None], deadline: Deadline, limit: int = 16 << 20
    ) -> tuple[bytes, int]:
        """Standard output as bytes, and the exit code. Raises ValueError beyond `limit` bytes."""
        output = _Bytes(limit)
        code = self.wait(lambda _, text: on_error_line(text), deadline, stdout=output)
        return bytes(output.content), code

    def kill(self) -> None:
        """End the whole group: SIGTERM, `TERM_GRACE` seconds for its own cleanup, SIGKILL."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(TERM_GRACE)
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _read(self, sinks: Mapping[str, _Lines | _Bytes], deadline: Deadline) -> None:
        ended_at: float | None = None
        with selectors.DefaultSelector() as selector:
            for stream, pipe in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr)):
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ, sinks[stream])
            while selector.get_map():
                deadline.check()
                for key, _ in selector.select(min(0.2, deadline.remaining)):
                    chunk = os.read(key.fd, 65536)
                    if chunk:
                        key.data.feed(chunk)
                    else:
                        key.data.end()
                        selector.unregister(key.fileobj)
                if ended_at is None:
                    ended_at = time.monotonic() if self._popen.poll() is not None else None
                elif time.monotonic() - ended_at > _PIPE_GRACE:
                    # A descendant holds the pipe; the program itself has ended.
                    for key in list(selector.get_map().values()):
                        key.data.end()
                    return
            while self._popen.poll() is None:
                deadline.check()
                try:
                    self._popen.wait(min(0.2, deadline.remaining))
                except subprocess.TimeoutExpired:
                    continue


class _Lines:
    """Cuts a byte stream into lines. Of a longer line only the first `_LONGEST_LINE` bytes count:
    pieces of one line would each be searched for secrets on their own, and one would be cut.
    """

    def __init__(self, stream: str, on_line: OnLine) -> None:
        self._stream = stream
        self._on_line = on_line
        self._rest = b""
        self._left_out = 0

    def feed(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._add(line)
            self._hand_over()
        self._add(rest)

    def end(self) -> None:
        if self._rest:
            self._hand_over()

    def _add(self, piece: bytes) -> None:
        room = _LONGEST_LINE - len(self._rest)
        self._left_out += max(0, len(piece) - room)
        self._rest += piece[:room]

    def _hand_over(self) -> None:
        text = self._rest.decode("utf-8", "replace")
        if self._left_out:
            text += f" … [{self._left_out} bytes left out]"
        self._rest, self._left_out = b"", 0
        self._on_line(self._stream, text)


class _Bytes:
    """Keeps a byte stream as it is, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.content = bytearray()

    def feed(self, chunk: bytes) -> None:
        self.content += chunk
        if len(self.content) > self._limit:
            raise ValueError(f"more than {self._limit} bytes of output")

    def end(self) -> None:
        """Nothing is held back."""


def run(
    argv: Sequence[str],
    on_line: OnLine,
    deadline: Deadline,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes | None = None,
) -> int:
    """Run a program to its end; see `Program.wait`."""
    return Program(argv, env=env, cwd=cwd, stdin=stdin).wait(on_line, deadline)


def capture(
    argv: Sequence[str],
    deadline: Deadline,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> tuple[int, str, str]:
    """Run a program whose output is data: exit code, standard output, standard error."""
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    code = run(argv, lambda stream, text: lines[stream].append(text), deadline, env=env, cwd=cwd)
    return code, "\n".join(lines["stdout"]), "\n".join(lines["stderr"])


def duration(seconds: int) -> str:
    """Seconds in words as people write them: 90 is `1m30s`, 1800 is `30m`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
