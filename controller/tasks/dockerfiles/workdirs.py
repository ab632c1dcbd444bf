"""Make the directory of a WORKDIR where the Dockerfile says so, as `docker build` does.

Buildah with layers keeps files of RUN, COPY and ADD only. What WORKDIR makes is thrown away, and
made again by the next of these: with that one's USER or `--chown`, or never if none follows.
Without layers it throws them away where a stage has none of these at all. See `stepRequiresLayer`
in https://github.com/containers/buildah (imagebuildah/stage_executor.go).

So where that shows, the Dockerfile handed to Buildah has one line more after the WORKDIR: a COPY of
nothing, which keeps the directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from controller.tasks.context import source_tree
from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.instructions import Instruction, read
from controller.tasks.dockerfiles.stages import Stage, stage_number

_EMPTY = "nbs-workdir"
_KEEP = f"COPY --from={_EMPTY} . /"
_ROOT = re.compile(r"(?:root|0)(?::(?:root|0))?\Z")


def options(scratch: Path) -> list[str]:
    """Options of `buildah build`: the empty directory, made in `scratch`, that is copied."""
    empty = scratch / "empty"
    empty.mkdir(exist_ok=True)
    return ["--build-context", f"{_EMPTY}={empty}"]


def keep(
    content: bytes, dockerfile: Dockerfile, images: Mapping[str, str | None], *, layers: bool
) -> tuple[bytes, Dockerfile]:
    """The Dockerfile with the lines that keep its directories, and what it says then.

    `images` tells who base images run as. Every instruction keeps the line that it has in the
    author's file.
    """
    lost = _lost_with_layers if layers else _lost_without
    lines = content.split(b"\n")
    stages: list[Stage] = []
    users: list[str | None] = []
    shift = 0
    for number, stage in enumerate(dockerfile.stages):
        kept: list[Instruction] = []
        users.append(_first_user(stage, stages, users, images))
        for at, one in enumerate(stage.instructions):
            kept.append(one)
            if one.keyword == "USER":
                users[number] = one.text
            if one.keyword != "WORKDIR" or not lost(stage.instructions, at, users[number]):
                continue
            before = _next_line(dockerfile, number, at)
            lines.insert(len(lines) if before is None else before - 1 + shift, _KEEP.encode())
            shift += 1
            kept.append(Instruction(one.line, "COPY", (("from", _EMPTY),), ". /", _KEEP, _KEEP))
        stages.append(replace(stage, instructions=kept))
    changed = b"\n".join(lines)
    wanted = [one.source for stage in stages for one in stage.instructions]
    # An open continuation at the end of the file would swallow the line; a name of the author's
    # that is ours would lead elsewhere.
    if _EMPTY.encode() in content or list(_sources(changed)) != wanted:
        return content, dockerfile
    return changed, replace(dockerfile, stages=tuple(stages))


def _first_user(
    stage: Stage,
    before: list[Stage],
    users: list[str | None],
    images: Mapping[str, str | None],
) -> str | None:
    """Who a stage begins as; None where that is not known."""
    parent = stage_number(before, stage.base)
    if parent is not None:
        return users[parent]
    return "root" if stage.base == "scratch" else images.get(stage.base)


def _lost_without(instructions: list[Instruction], at: int, user: str | None) -> bool:
    return not any(one.keyword in ("RUN", "COPY", "ADD") for one in instructions)


def _lost_with_layers(instructions: list[Instruction], at: int, user: str | None) -> bool:
    """Whether the directory would be another, or none, by the time that Buildah keeps it."""
    for one in instructions[at + 1 :]:
        if one.keyword == "RUN":
            return False
        if one.keyword in ("COPY", "ADD"):
            return not (user and _ROOT.match(user)) or one.flag("chown") is not None
        if one.keyword in ("USER", "WORKDIR"):
            break
    return True


def _next_line(dockerfile: Dockerfile, number: int, at: int) -> int | None:
    """Where the instruction after one begins; None at the end of the file."""
    rest = dockerfile.stages[number].instructions[at + 1 :]
    if not rest and number + 1 < len(dockerfile.stages):
        rest = dockerfile.stages[number + 1].instructions
    return rest[0].line if rest else None


def _sources(content: bytes) -> Iterator[str]:
    """Every instruction as Buildah will print it, from the first FROM on."""
    begun = False
    for one in read(source_tree.text(content)):
        begun = begun or one.keyword == "FROM"
        if begun:
            yield one.source
