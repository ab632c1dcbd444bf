"""What a Dockerfile needs: its stages, the images to have at hand, what must not be followed.

Buildah's output has no line numbers and Buildah follows references out of the registry world
(`FROM oci:/path` opens a host path), so the runner reads the Dockerfile first. Rules:
https://docs.docker.com/reference/dockerfile/ (ARG before FROM), as Buildah keeps them: names of
stages are told apart by case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.tasks import platforms
from controller.tasks.errors import PhaseFailed
from controller.tasks.instructions import Instruction, invalid, read
from controller.tasks.substitution import SubstitutionError, expand

# Transports other than a registry: https://github.com/containers/image (containers-transports.5)
_TRANSPORT = re.compile(
    r"(?:(?:containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif"
    r"|tarball|atomic):|docker://)",
    re.IGNORECASE,
)
# The same, wherever a line could be read as naming an image: a second look that does not depend on
# this parser agreeing with Buildah's.
_SUSPICIOUS = re.compile(
    rf"(?:^\s*FROM\s(?:.*[\s=\"'])?|\bfrom\s*=\s*[\"']?)(?:{_TRANSPORT.pattern})", re.IGNORECASE
)
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)


# What OCI's image configuration has no room for and Docker's has.
_DOCKER_ONLY = {"HEALTHCHECK", "ONBUILD", "SHELL"}


@dataclass(slots=True)
class Stage:
    """A build stage: what it is based on, its name if it has one, its instructions after FROM."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile.

    `needs` are the registry references that must be at hand for the target, in order, each with
    the platform that it is wanted for; `arguments` the names that some ARG declares.
    """

    stages: tuple[Stage, ...]
    needs: tuple[tuple[str, str], ...]
    arguments: frozenset[str] = frozenset()

    @property
    def images(self) -> tuple[str, ...]:
        """The references, whatever the platforms."""
        return tuple(dict.fromkeys(image for image, _ in self.needs))

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
) -> Dockerfile:
    """Parse and check. Raises PhaseFailed (DockerfileInvalid, DockerfileRefused) with the line."""
    for number, line in enumerate(text.split("\n"), 1):
        if any(_SUSPICIOUS.search(part) for part in line.splitlines()):
            raise _refused(number, line.strip(), "names an image by a transport of the host")
    stages: list[Stage] = []
    global_args = platforms.arguments(platform)
    arguments: set[str] = set()
    for instruction in read(text):
        if instruction.keyword == "ARG":
            arguments |= {word.partition("=")[0] for word in _assignments(instruction)}
        if instruction.keyword == "FROM":
            stages.append(_stage(instruction, global_args))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            _declare(instruction, global_args, build_args)
        else:
            raise invalid(instruction.line, instruction.source, "stands before the first FROM")
    if not stages:
        raise PhaseFailed("DockerfileInvalid", "the Dockerfile has no FROM instruction")
    return Dockerfile(
        tuple(stages),
        _needs(stages, global_args, build_args, target, platform),
        frozenset(arguments),
    )


def stage_number(stages: Sequence[Stage], name: str) -> int | None:
    """The stage of a name, the last of several, or of a number."""
    return _number(
        {stage.name: n for n, stage in enumerate(stages) if stage.name}, name, len(stages)
    )


def _number(names: Mapping[str, int], name: str, below: int) -> int | None:
    if name in names:
        return names[name]
    # Unicode has digits that are none, and Python refuses to read numbers of very many.
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 9 else below
    return number if number < below else None


def _stage(instruction: Instruction, global_args: Mapping[str, str]) -> Stage:
    words = instruction.text.split()
    if not words or (len(words) > 1 and (len(words) != 3 or words[1].upper() != "AS")):
        raise invalid(instruction.line, instruction.source, "must be FROM image [AS name]")
    base = _expand(instruction, words[0], global_args)
    if not base:
        raise invalid(
            instruction.line,
            instruction.source,
            "names no image once its ARGs are filled in: give them a default or a "
            "value in build_args",
        )
    name = _expand(instruction, words[2], global_args) if len(words) == 3 else None
    return Stage(base, name, [instruction])


def _declare(instruction: Instruction, args: dict[str, str], given: Mapping[str, str]) -> None:
    for word in _assignments(instruction):
        name, has_default, default = word.partition("=")
        if name in given:
            args[name] = given[name]
        elif has_default:
            args[name] = _expand(instruction, default, args)


def _assignments(instruction: Instruction) -> list[str]:
    """The words NAME or NAME=VALUE of an ARG, quotes left in."""
    return re.findall(r"(?:[^\s\"'\\]|\\.|\"(?:[^\"\\]|\\.)*\"|'[^']*')+", instruction.text)


def _needs(
    stages: list[Stage],
    global_args: Mapping[str, str],
    given: Mapping[str, str],
    target: str | None,
    platform: str,
) -> tuple[tuple[str, str], ...]:
    """The images of the stages that the target needs; what any stage names is checked."""
    images: list[dict[tuple[str, str], None]] = []
    needs: list[set[int]] = []
    names: dict[str, int] = {}
    for index, stage in enumerate(stages):
        images.append({})
        needs.append(set())
        first = stage.instructions[0]
        wished = _expand(first, first.flag("platform") or "", global_args) or platform
        for instruction, source in _references(stage, global_args, given):
            known = _number(names, source, index)
            if known is not None:
                needs[index].add(known)
            elif source and source != "scratch":
                images[index][_reference(instruction, source), wished] = None
        if stage.name:
            names[stage.name] = index
    last = stage_number(stages, target) if target else None
    wanted = {len(stages) - 1 if last is None else last}
    for index in range(len(stages) - 1, -1, -1):  # a stage needs earlier ones only
        wanted |= needs[index] if index in wanted else set()
    return tuple(dict.fromkeys(need for index in sorted(wanted) for need in images[index]))


def _references(
    stage: Stage, global_args: Mapping[str, str], given: Mapping[str, str]
) -> Iterator[tuple[Instruction, str]]:
    """Every name of a stage or an image, with the instruction."""
    args = dict(global_args)
    yield stage.instructions[0], stage.base
    if after := stage.instructions[0].flag("after"):
        yield stage.instructions[0], _expand(stage.instructions[0], after, args)
    for instruction in stage.instructions[1:]:
        if instruction.keyword == "ARG":
            _declare(instruction, args, given)
        for source in _sources(instruction):
            yield instruction, _expand(instruction, source, args)


def _sources(instruction: Instruction) -> Iterator[str]:
    if instruction.keyword in ("COPY", "ADD"):
        yield from (value for name, value in instruction.flags if name == "from")
    if instruction.keyword == "RUN":
        if (instruction.flag("security") or "sandbox") != "sandbox":
            raise _refused(instruction.line, instruction.source, "asks for --security=insecure")
        for name, value in instruction.flags:
            if name == "mount":
                options = [part.partition("=") for part in value.split(",")]
                yield from (source for option, _, source in options if option.strip() == "from")


def _reference(instruction: Instruction, image: str) -> str:
    if _TRANSPORT.match(image) or not _REFERENCE.match(image):
        raise _refused(
            instruction.line,
            instruction.source,
            f"names {image!r}, which is neither a stage nor a registry image",
        )
    return image


def _expand(instruction: Instruction, word: str, args: Mapping[str, str]) -> str:
    try:
        return expand(word, args)
    except SubstitutionError as error:
        raise invalid(instruction.line, instruction.source, str(error)) from error


def _refused(line: int, source: str, problem: str) -> PhaseFailed:
    return PhaseFailed(
        "DockerfileRefused",
        f"line {line}: {source[:200]!r} {problem}",
        step=source[:500],
        dockerfile_line=line,
    )
