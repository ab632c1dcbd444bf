"""Which images a Dockerfile needs for its target, and whether it names anything else.

Only stages that the target needs are judged, as Buildah builds no others; but no stage may name an
image by a transport of the host: `FROM oci:/path` opens a path of the node.

What a stage is based on may add ONBUILD instructions to it, and those name images too. Of a base
image they are known once it is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.contract.field_error import FieldError
from controller.tasks.dockerfiles import references
from controller.tasks.dockerfiles.instructions import Instruction, inner, invalid, read, refused
from controller.tasks.dockerfiles.stages import Stage, StageNames, is_number, target_number
from controller.tasks.dockerfiles.substitution import SubstitutionError, expand
from controller.tasks.dockerfiles.variables import Heading, Variables
from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation import platforms

# Transports other than a registry: https://github.com/containers/image (containers-transports.5)
_TRANSPORT = re.compile(
    r"(?:(?:containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif"
    r"|tarball|atomic):|docker://)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)


class _TransportError(PhaseFailed):
    """A stage names an image by a transport of the host."""


@dataclass(frozen=True, slots=True)
class Need:
    """An image that must be at hand, the platform it is wanted for, and what names it."""

    image: str
    platform: str
    instruction: Instruction


@dataclass(slots=True)
class _Found:
    """What one stage names: earlier stages, images, and the first thing that is wrong with it.

    `triggers` are what it adds to a stage that is based on it.
    """

    variables: Variables
    stages: set[int] = field(default_factory=set)
    needs: list[Need] = field(default_factory=list)
    triggers: list[Instruction] = field(default_factory=list)
    problem: PhaseFailed | None = None


def needs(
    stages: Sequence[Stage],
    heading: Heading,
    target: str | None,
    platform: str,
    triggers: Mapping[str, Sequence[str]],
) -> tuple[Need, ...]:
    """The images of the stages that the target needs, in order; each once for a platform.

    `triggers` are the ONBUILD instructions of base images, as far as they are known. Raises
    PhaseFailed (DockerfileInvalid, DockerfileRefused) with the line.
    """
    names = StageNames()
    found: list[_Found] = []
    for stage in stages:
        found.append(_Look(names, found, heading, platform, triggers).at(stage))
        names.add(stage.name)
    last = target_number(stages, target)
    wanted = {len(stages) - 1 if last is None else last}
    for number in range(len(stages) - 1, -1, -1):  # a stage needs earlier ones only
        wanted |= found[number].stages if number in wanted else set()
    for number in sorted(wanted):
        if problem := found[number].problem:
            raise problem
    every = [need for number in sorted(wanted) for need in found[number].needs]
    return tuple({(need.image, need.platform): need for need in reversed(every)}.values())[::-1]


class _Look:
    """A look at one stage; `names` and `before` are of the stages before it."""

    def __init__(
        self,
        names: StageNames,
        before: Sequence[_Found],
        heading: Heading,
        platform: str,
        triggers: Mapping[str, Sequence[str]],
    ) -> None:
        self._names = names
        self._before = before
        self._heading = heading
        self._platform = platform
        self._triggers = triggers

    def at(self, stage: Stage) -> _Found:
        number = self._names.number(stage.base)
        parent = None if number is None else self._before[number]
        found = _Found(Variables(self._heading, parent.variables if parent else None))
        for one in stage.instructions:
            _refuse_insecure(one)
            if one.keyword == "ONBUILD":
                found.triggers.append(inner(one))
        triggers = self._of_image(stage.base) if parent is None else parent.triggers
        try:
            wished = self._wished(stage.instructions[0])
            for instruction, name in self._named(stage, triggers, found.variables):
                number = self._names.number(name)
                if number is not None:
                    found.stages.add(number)
                elif name != "scratch":
                    self._judge(instruction, name)
                    found.needs.append(Need(name, wished, instruction))
        except _TransportError:
            raise
        except PhaseFailed as error:
            found.problem = error
        return found

    def _wished(self, first: Instruction) -> str:
        """The platform that a stage is for."""
        name = first.flag("platform")
        if name is None:
            return self._platform
        try:
            filled = expand(name, self._heading.all)
            if not filled:
                raise invalid(first.line, first.source, "has an empty --platform")
            return platforms.parse(filled)
        except SubstitutionError as error:
            raise invalid(first.line, first.source, str(error)) from error
        except FieldError as error:
            raise invalid(
                first.line, first.source, f"has a --platform that {error.problem}: {error.fix}"
            ) from error

    def _of_image(self, image: str) -> list[Instruction]:
        try:
            return list(read("\n".join(self._triggers.get(image, ()))))
        except PhaseFailed:
            return []  # Buildah cannot read them either, and says so

    def _named(
        self, stage: Stage, triggers: Sequence[Instruction], variables: Variables
    ) -> Iterator[tuple[Instruction, str]]:
        """Every name of a stage or an image, with the instruction."""
        first = stage.instructions[0]
        # They stand on no line of the stage but that of its FROM.
        added = [replace(one, line=first.line, written=first.written) for one in triggers]
        if not stage.base:
            raise invalid(
                first.line,
                first.source,
                "names no image once its ARGs are filled in: give them a default or a "
                "value in build_args",
            )
        yield first, stage.base
        one = first
        try:
            if after := first.flag("after"):
                yield first, expand(after, self._heading.all)
            for one in (*added, *stage.instructions[1:]):
                variables.take(one)
                if references.breaks_the_builder(one):
                    raise invalid(
                        one.line,
                        one.source,
                        "has a variable in from=, which the builder knows with no type=bind only: "
                        "leave it out, for bind is the default",
                    )
                for name in references.filled_in(one, variables):
                    yield one, name
        except SubstitutionError as error:
            raise invalid(one.line, one.source, str(error)) from error

    def _judge(self, instruction: Instruction, name: str) -> None:
        """Raise PhaseFailed unless the name can be that of an image."""
        line, source = instruction.line, instruction.source
        if alike := self._names.alike(name):
            raise invalid(
                line,
                source,
                f"names no stage {name!r}, and the builder tells names of stages apart by case: "
                f"did you mean {' or '.join(alike)}?",
            )
        if is_number(name) and instruction.keyword != "FROM":
            raise invalid(line, source, f"names stage {name}, and there is none before this one")
        if _REFERENCE.match(name) and not _TRANSPORT.match(name):
            return
        problem = f"names {name[:200]!r}, which is neither a stage nor a registry image"
        if _TRANSPORT.match(name):
            failed = refused(line, source, problem)
            raise _TransportError(failed.reason, failed.message, **failed.details)
        if not any("$" in word for word in references.written(instruction)):
            raise refused(line, source, problem)
        if instruction.keyword != "FROM":
            problem += ": of variables only ARGs count here that the stage declares, and no ENV"
        raise invalid(line, source, problem)


def _refuse_insecure(instruction: Instruction) -> None:
    if instruction.keyword == "RUN" and (instruction.flag("security") or "sandbox") != "sandbox":
        raise refused(instruction.line, instruction.source, "asks for --security=insecure")
