"""Entry point of the runner: `nbs-task PHASE`, and the callbacks that Git and the sandbox make."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # `typing` alone takes as long to import as Git waits for an answer
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from controller.tasks.environment import TaskEnvironment

_TASKS = (
    "build",
    "test",
    "publish",
    "finish",
    "prune",
    "promote",
    "cleanup",
    "source",
    "push",
    "keep",
)
_UNCOLLECTED = ("finish", "keep")  # the pack starts no process for their output
BUILD_LOG = "data/nbs/logs/build.log"  # as `contract.results` has it, which takes long to import
_HEAD_START = 0.5  # seconds
_USAGE = f"usage: nbs-task {'|'.join(_TASKS)} (inside a Nomad task)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one phase of the build that this Nomad task belongs to; the task's exit code.

    Modules are imported where they are needed: each phase pays only for its own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "NBS_ASKPASS" in os.environ:
        from controller.tasks.context.askpass import answer

        return answer(os.environ["NBS_ASKPASS"], arguments)
    if arguments and arguments[0] == "enter-sandbox":
        from controller.tasks.isolation.sandbox_entry import enter

        return enter(arguments[1:])
    if len(arguments) != 1 or arguments[0] not in _TASKS:
        print(_USAGE, file=sys.stderr)
        return 2
    if arguments[0] == "test":
        _let_build_begin(os.environ.get("NOMAD_ALLOC_DIR", ""))
    from controller.tasks import environment

    try:
        surroundings = environment.read()
    except KeyError as missing:
        print(f"{missing.args[0]} is not set. {_USAGE}", file=sys.stderr)
        return 2
    return _run(arguments[0], surroundings)


def _run(name: str, surroundings: TaskEnvironment) -> int:
    from importlib import import_module

    from controller.tasks import phase

    if name in _UNCOLLECTED:
        _say_into(surroundings.task_dir / f"{name}.log")
    if name == "finish":
        from controller.tasks import finish

        return finish.run(surroundings)
    if name == "prune":
        from controller.tasks import prune

        return prune.run(surroundings)
    module = import_module(f"controller.tasks.{name}")
    return phase.run(name, surroundings, module.work, getattr(module, "read", None))


def _let_build_begin(alloc_dir: str) -> None:
    """Wait a moment for phase `build`, which starts at the same time, and for which all wait.

    Two tasks that load their modules at once slow each other down on a node that is busy.
    """
    end = time.monotonic() + _HEAD_START
    while time.monotonic() < end and not os.path.lexists(f"{alloc_dir}/{BUILD_LOG}"):
        time.sleep(0.01)


def _say_into(file: Path) -> None:
    """Let all that the task says, a traceback too, go to a file in its own directory."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main())
