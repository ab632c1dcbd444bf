"""The image that a build left in the private registry, for a person to look into. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from controller.status.build import Build

_COMMAND = 800  # characters


def shown(kept: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As in an answer: with the command that pulls it."""
    if kept is None:
        return None
    if kept.get("problem"):
        return {"problem": kept["problem"]}
    return {**kept, "pull": f"docker pull {_name(kept)}"}


def reproduction(build: Build) -> dict[str, Any] | None:
    """How to get the image and to run the failed command in it as the test did."""
    found = shown(build.intermediate)
    if found is None or build.intermediate is None or "pull" not in found:
        return found
    if (run := _run(build, _name(build.intermediate))) and len(run) <= _COMMAND:
        found["run"] = run
    return found


def _run(build: Build, image: str) -> str | None:
    failure, test = build.failure or {}, (build.config or {}).get("test") or {}
    if failure.get("phase") != "test" or not failure.get("command"):
        return None
    words = ["docker", "run", "--rm"]
    if test.get("network") != "egress":
        words += ["--network", "none"]
    # The values are not shown by any answer: they come from the environment of whoever runs it.
    for name in test.get("env") or ():
        words += ["--env", name]
    command = next(
        (one for one in test.get("commands") or () if _as_told(one) == failure["command"]), None
    )
    if isinstance(command, str):
        words += ["--entrypoint", "/bin/sh", image, "-c", command]
    elif command:
        words += ["--entrypoint", command[0], image, *command[1:]]
    else:  # the image's entry point
        words.append(image)
    return shlex.join(words)


def _as_told(command: str | list[str]) -> str:
    """As the test phase names a command."""
    return command if isinstance(command, str) else json.dumps(command, ensure_ascii=False)


def _name(kept: Mapping[str, Any]) -> str:
    return f"{str(kept['reference']).rpartition(':')[0]}@{kept['digest']}"
