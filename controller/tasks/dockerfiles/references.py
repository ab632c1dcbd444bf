"""Where an instruction names a stage or an image: FROM, `--after`, `--from`, and `from` of a mount.

In these places Buildah knows the variables of ARG. A mount it fills in as a whole, before it looks
for `from`, and what follows that once more; and all of this twice, the second time with those of
ENV too.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.tasks.dockerfiles.instructions import Instruction
from controller.tasks.dockerfiles.substitution import expand
from controller.tasks.dockerfiles.variables import Variables


def written(instruction: Instruction) -> list[str]:
    """The names as they are written, without quotes, variables not filled in."""
    if instruction.keyword == "FROM":
        base, after = instruction.text.split()[:1], instruction.flag("after")
        return base + ([after] if after else [])
    if instruction.keyword in ("COPY", "ADD"):
        return [value for name, value in instruction.flags if name == "from"]
    return [name for mount in _mounts(instruction) for name in _sources(mount.replace('"', ""))]


def filled_in(instruction: Instruction, variables: Variables) -> list[str]:
    """The names after FROM's in a stage. Raises SubstitutionError."""
    if instruction.keyword in ("COPY", "ADD"):
        return [expand(name, variables.arguments) for name in written(instruction)]
    return [
        expand(name, variables.arguments)
        for mount in _mounts(instruction)
        for known in (variables.arguments, variables.all)
        for name in _sources(expand(mount, known))
    ]


def breaks_the_builder(instruction: Instruction) -> bool:
    """Whether Buildah 1.44 panics at a mount, whose name it looks up as it is written."""
    for mount in _mounts(instruction):
        options = dict(one for part in mount.split(",") if len(one := part.split("=")) == 2)
        if options.get("type") == "bind" and "$" in options.get("from", ""):
            return True
    return False


def _mounts(instruction: Instruction) -> Iterator[str]:
    if instruction.keyword == "RUN":
        yield from (value for name, value in instruction.flags if name == "mount")


def _sources(mount: str) -> Iterator[str]:
    for option in mount.split(","):
        name, _, source = option.partition("=")
        if name == "from":
            yield source
