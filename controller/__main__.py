"""`nbs`, or `python -m controller`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What a command does not need is not imported."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["task"]:
        from controller.tasks.__main__ import main as task

        return task(arguments[1:])
    if arguments == ["serve"]:
        from controller.serve import main as serve

        return serve(os.environ)
    from controller.cli.commands import main as command

    return command(arguments, os.environ)


if __name__ == "__main__":
    sys.exit(main())
