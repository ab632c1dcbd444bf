"""What a Dockerfile needs: its stages, the images to have at hand, what must not be followed.

Buildah's output has no line numbers and Buildah follows references out of the registry world, so
the runner reads the Dockerfile first. Rules: https://docs.docker.com/reference/dockerfile/ (ARG
before FROM), as Buildah keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from controller.tasks.dockerfiles.instructions import Instruction, invalid, read
from controller.tasks.dockerfiles.needs import Need, needs
from controller.tasks.dockerfiles.stages import Stage, target_number
from controller.tasks.dockerfiles.substitution import SubstitutionError, expand
from controller.tasks.dockerfiles.variables import Heading, declarations
from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation import platforms

# What OCI's image configuration has no room for and Docker's has.
_DOCKER_ONLY = {"HEALTHCHECK", "ONBUILD", "SHELL"}


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile.

    `needs` are the images that must be at hand for the target, in order; `arguments` the names that
    some ARG declares; `target` the wanted stage by the name that the Dockerfile gives it.
    """

    stages: tuple[Stage, ...]
    needs: tuple[Need, ...]
    arguments: frozenset[str] = frozenset()
    target: str | None = None

    @property
    def images(self) -> dict[str, int]:
        """The references, whatever the platforms, each with the line that names it first."""
        found: dict[str, int] = {}
        for need in self.needs:
            found.setdefault(need.image, need.instruction.line)
        return found

    @property
    def needs_docker_format(self) -> bool:
        """Whether an instruction would be without effect in an OCI image."""
        return any(
            one.keyword in _DOCKER_ONLY for stage in self.stages for one in stage.instructions
        )


def parse(
    text: str,
    build_args: Mapping[str, str],
    target: str | None = None,
    platform: str = platforms.NATIVE,
    triggers: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Dockerfile:
    """Parse and check. `triggers` are ONBUILD instructions of base images, by name.

    Raises PhaseFailed (DockerfileInvalid, DockerfileRefused) with the line.
    """
    stages: list[Stage] = []
    heading = Heading(build_args, platform)
    arguments: set[str] = set()
    for instruction in read(text):
        if instruction.keyword == "ARG":
            arguments |= {word.partition("=")[0] for word in declarations(instruction)}
        if instruction.keyword == "FROM":
            stages.append(_stage(instruction, heading))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            _declare(instruction, heading)
        else:
            raise invalid(instruction.line, instruction.source, "stands before the first FROM")
    if not stages:
        raise PhaseFailed("DockerfileInvalid", "the Dockerfile has no FROM instruction")
    number = target_number(stages, target) if target else None
    return Dockerfile(
        tuple(stages),
        needs(stages, heading, target, platform, triggers),
        frozenset(arguments),
        target if number is None else stages[number].name or str(number),
    )


def _stage(instruction: Instruction, heading: Heading) -> Stage:
    words = instruction.text.split()
    if not words or (len(words) > 1 and (len(words) != 3 or words[1].upper() != "AS")):
        raise invalid(instruction.line, instruction.source, "must be FROM image [AS name]")
    base = _expand(instruction, words[0], heading)
    name = _expand(instruction, words[2], heading) if len(words) == 3 else None
    return Stage(base, name, [instruction])


def _declare(instruction: Instruction, heading: Heading) -> None:
    try:
        heading.declare(instruction)
    except SubstitutionError as error:
        raise invalid(instruction.line, instruction.source, str(error)) from error


def _expand(instruction: Instruction, word: str, heading: Heading) -> str:
    try:
        return expand(word, heading.all)
    except SubstitutionError as error:
        raise invalid(instruction.line, instruction.source, str(error)) from error
