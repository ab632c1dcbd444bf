"""Programs: every line, exit codes, deadlines, and groups that die as a whole."""

import contextlib
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.tasks.errors import DeadlinePassed
from controller.tasks.process import Deadline, Program, capture, duration, run, within

ENV = {"PATH": os.environ["PATH"]}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_process_lines_of_both_streams_and_exit_code() -> None:
    heard: list[tuple[str, str]] = []
    code = run(
        python("import sys; print('a\\nb'); print('c', end='', file=sys.stderr); sys.exit(7)"),
        lambda *line: heard.append(line),
        Deadline.after(10),
        env=ENV,
    )
    assert code == 7
    assert sorted(heard) == [("stderr", "c"), ("stdout", "a"), ("stdout", "b")]


def test_process_death_by_signal_counts_as_in_a_shell() -> None:
    code, _, _ = capture(python("import os; os.kill(os.getpid(), 9)"), Deadline.after(10), env=ENV)
    assert code == 137


def test_process_endless_line_is_cut_and_not_kept_in_memory() -> None:
    heard: list[str] = []
    run(
        python("import sys; sys.stdout.write('x' * 1_000_000)"),
        lambda _, text: heard.append(text),
        Deadline.after(10),
        env=ENV,
    )
    assert heard == ["x" * 65_536 + f" … [{1_000_000 - 65_536} bytes left out]"]


def test_process_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = (
        f"import os, subprocess, time; p = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        run(python(code), lambda *_: None, Deadline.after(1), env=ENV)
    assert time.monotonic() - started < 10
    child = int(pids.read_text())
    assert eventually(lambda: not _runs(child))


def test_process_ends_though_a_descendant_holds_the_pipe() -> None:
    started = time.monotonic()
    code = run(
        python("import subprocess; subprocess.Popen(['sleep', '30'], start_new_session=True)"),
        lambda *_: None,
        Deadline.after(20),
        env=ENV,
    )
    assert (code, time.monotonic() - started < 10) == (0, True)


def test_process_bytes_are_kept_as_they_are() -> None:
    program = Program(python("import sys; sys.stdout.buffer.write(bytes(range(256)))"), env=ENV)
    assert program.read_all(lambda _: None, Deadline.after(10)) == (bytes(range(256)), 0)


def test_process_within_ends_a_server_that_drips() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stopped.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with (
            pytest.raises(TimeoutError, match="no whole answer"),
            within(0.5),
            urllib.request.urlopen(url, timeout=5) as answer,
        ):
            answer.read()
        assert time.monotonic() - began < 3
        stopped.set()
        thread.join()


@pytest.mark.parametrize(
    ("seconds", "words"), [(90, "1m30s"), (1800, "30m"), (3661, "1h1m1s"), (0, "0s"), (5, "5s")]
)
def test_process_duration_in_words(seconds: int, words: str) -> None:
    assert duration(seconds) == words


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
