"""Which processes are below one: of every thread, however deep."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.tasks.isolation.process_tree import descendants

# Each waits for the next; the last says who it is.
_CHAIN = """
[ "$1" != 0 ] || { echo $$; exec cat; }
sh "$0" $(($1 - 1))
:
"""


@contextmanager
def in_another_thread(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose parent is a thread other than the first, which lives on."""
    started: list[subprocess.Popen[bytes]] = []
    begun, over = threading.Event(), threading.Event()

    def start() -> None:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe))
        begun.set()
        over.wait()

    thread = threading.Thread(target=start)
    thread.start()
    begun.wait()
    try:
        yield started[0]
    finally:
        if started[0].stdin:
            started[0].stdin.close()
        started[0].wait()
        if started[0].stdout:
            started[0].stdout.close()
        over.set()
        thread.join()


def test_children_of_every_thread() -> None:
    with in_another_thread(["cat"]) as child:
        of_the_first = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
        assert str(child.pid) not in of_the_first.split()
        assert child.pid in descendants(os.getpid())


def test_a_chain_deeper_than_python_recurses(tmp_path: Path) -> None:
    """Symptom: RecursionError, and with it InternalError; untrusted code chooses the depth."""
    (tmp_path / "chain").write_text(_CHAIN)
    depth = sys.getrecursionlimit() + 100
    with in_another_thread(["sh", str(tmp_path / "chain"), str(depth)]) as child:
        assert child.stdout
        last = int(child.stdout.readline())
        assert last in descendants(os.getpid())


def test_of_a_process_that_is_gone_there_are_none() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert list(descendants(child.pid)) == []
