"""Read a Dockerfile: instructions with their lines, stages, and the images it needs.

Buildah's output has no line numbers and Buildah follows references out of the registry world
(`FROM oci:/path` opens a host path), so the runner reads the Dockerfile first. Rules:
https://docs.docker.com/reference/dockerfile/ (parser directives, continuation, here-documents,
ARG before FROM).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controller.tasks.errors import PhaseFailed

_DIRECTIVE = re.compile(r"#\s*(?P<name>[A-Za-z]+)\s*=\s*(?P<value>.+?)\s*\Z")
_HEREDOC = re.compile(r"<<-?\s*(?P<quote>[\"']?)(?P<word>[A-Za-z_][A-Za-z0-9_]*)(?P=quote)")
_FLAG = re.compile(r"--(?P<name>[a-z][a-z-]*)(?:=(?P<value>\S*))?\s*")
_VARIABLE = re.compile(
    r"\\(?P<literal>\$)|\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?[-+])(?P<word>[^{}]*))?\})"
)
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


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its first line (from 1), keyword in capitals, flags, and the rest."""

    line: int
    keyword: str
    flags: tuple[tuple[str, str], ...]
    text: str

    def flag(self, name: str) -> str | None:
        """The last value given for a flag such as `from`."""
        return next((value for key, value in reversed(self.flags) if key == name), None)

    @property
    def source(self) -> str:
        """The instruction on one line, as Buildah prints it."""
        flags = "".join(f"--{n}={v} " if v else f"--{n} " for n, v in self.flags)
        return f"{self.keyword} {flags}{self.text}".strip()


@dataclass(slots=True)
class Stage:
    """A build stage: what it is based on, its name if it has one, its instructions after FROM."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile.

    `images` are the registry references that must be at hand, in order; `arguments` the names that
    some ARG declares.
    """

    stages: tuple[Stage, ...]
    images: tuple[str, ...]
    arguments: frozenset[str] = frozenset()


def parse(text: str, build_args: Mapping[str, str]) -> Dockerfile:
    """Parse and check. Raises PhaseFailed (DockerfileInvalid, DockerfileRefused) with the line."""
    for number, line in enumerate(text.splitlines(), 1):
        if _SUSPICIOUS.search(line):
            raise _refused(number, line.strip(), "names an image by a transport of the host")
    stages: list[Stage] = []
    global_args: dict[str, str] = {}
    arguments: set[str] = set()
    for instruction in _instructions(text):
        if instruction.keyword == "ARG":
            arguments |= {word.partition("=")[0] for word in _assignments(instruction)}
        if instruction.keyword == "FROM":
            stages.append(_stage(instruction, global_args))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            _declare(instruction, global_args, build_args)
        else:
            raise _invalid(instruction.line, instruction.source, "stands before the first FROM")
    if not stages:
        raise PhaseFailed("DockerfileInvalid", "the Dockerfile has no FROM instruction")
    return Dockerfile(
        tuple(stages),
        tuple(dict.fromkeys(_images(stages, global_args, build_args))),
        frozenset(arguments),
    )


def _instructions(text: str) -> Iterator[Instruction]:
    lines = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines()
    escape = _escape_character(lines)
    number = 0
    while number < len(lines):
        first = number + 1
        logical = ""
        while number < len(lines):
            line = lines[number]
            number += 1
            if line.lstrip().startswith("#") or (not line.strip() and logical):
                if not logical:
                    break
                continue  # comments and blank lines inside a continued instruction are dropped
            body = line.rstrip()
            if body.endswith(escape):
                logical += body[:-1]
                continue
            logical += body
            break
        if not logical.strip():
            continue
        instruction = _instruction(first, logical.strip())
        yield instruction
        if instruction.keyword in ("RUN", "COPY", "ADD"):
            for match in _HEREDOC.finditer(instruction.text):
                number = _end_of_heredoc(lines, number, match["word"])


def _escape_character(lines: list[str]) -> str:
    for line in lines:
        match = _DIRECTIVE.match(line.strip())
        if not match:
            break  # directives stand before everything else
        if match["name"].lower() == "escape" and match["value"] in ("\\", "`"):
            return match["value"]
    return "\\"


def _instruction(line: int, logical: str) -> Instruction:
    keyword, _, rest = logical.partition(" ")
    if "\t" in keyword:
        keyword, _, rest = logical.partition("\t")
    rest = rest.lstrip()
    flags: list[tuple[str, str]] = []
    while match := _FLAG.match(rest):
        flags.append((match["name"], match["value"] or ""))
        rest = rest[match.end() :]
    return Instruction(line, keyword.upper(), tuple(flags), rest.strip())


def _end_of_heredoc(lines: list[str], number: int, word: str) -> int:
    while number < len(lines):
        number += 1
        if lines[number - 1].lstrip("\t").rstrip() == word:
            break
    return number


def _stage(instruction: Instruction, global_args: Mapping[str, str]) -> Stage:
    words = instruction.text.split()
    if not words or (len(words) > 1 and (len(words) != 3 or words[1].upper() != "AS")):
        raise _invalid(instruction.line, instruction.source, "must be FROM image [AS name]")
    base = _expand(words[0].strip("\"'"), global_args)
    if not base:
        raise _invalid(
            instruction.line,
            instruction.source,
            "names no image once its ARGs are filled in: give them a default or a "
            "value in build_args",
        )
    stage = Stage(base, words[2].lower() if len(words) == 3 else None)
    stage.instructions.append(instruction)
    return stage


def _declare(instruction: Instruction, args: dict[str, str], given: Mapping[str, str]) -> None:
    for word in _assignments(instruction):
        name, has_default, default = word.partition("=")
        if name in given:
            args[name] = given[name]
        elif has_default:
            args[name] = _expand(default.strip("\"'"), args)


def _assignments(instruction: Instruction) -> list[str]:
    """The words NAME or NAME=VALUE of an ARG, quotes left in."""
    return re.findall(r"(?:[^\s\"']|\"[^\"]*\"|'[^']*')+", instruction.text)


def _images(
    stages: list[Stage], global_args: Mapping[str, str], given: Mapping[str, str]
) -> Iterator[str]:
    names: set[str] = set()
    for index, stage in enumerate(stages):
        first = stage.instructions[0]
        if stage.base.lower() not in names and stage.base != "scratch":
            yield _reference(first, stage.base)
        if stage.name:
            names.add(stage.name)
        args = dict(global_args)
        for instruction in stage.instructions[1:]:
            if instruction.keyword == "ARG":
                _declare(instruction, args, given)
            for source in _sources(instruction):
                source = _expand(source, args)
                known = source.lower() in names or (is_number(source) and int(source) < index)
                if source and source != "scratch" and not known:
                    yield _reference(instruction, source)


def is_number(text: str) -> bool:
    """Whether a stage is named by its number; Unicode has digits that are none."""
    return text.isascii() and text.isdigit()


def _sources(instruction: Instruction) -> Iterator[str]:
    if instruction.keyword in ("COPY", "ADD"):
        yield from (value for name, value in instruction.flags if name == "from")
    if instruction.keyword == "RUN":
        if (instruction.flag("security") or "sandbox") != "sandbox":
            raise _refused(instruction.line, instruction.source, "asks for --security=insecure")
        for name, value in instruction.flags:
            if name == "mount":
                options = dict(part.partition("=")[::2] for part in value.split(","))
                if options.get("from"):
                    yield options["from"].strip("\"'")


def _reference(instruction: Instruction, image: str) -> str:
    if _TRANSPORT.match(image) or not _REFERENCE.match(image):
        raise _refused(
            instruction.line,
            instruction.source,
            f"names {image!r}, which is neither a stage nor a registry image",
        )
    return image


def _expand(text: str, args: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match["literal"]:
            return "$"
        name, operator, word = match["plain"] or match["name"], match["operator"], match["word"]
        present = name in args and (bool(args[name]) or not (operator or "").startswith(":"))
        if operator and operator.endswith("-"):
            return args[name] if present else word
        if operator and operator.endswith("+"):
            return word if present else ""
        return args.get(name, "")

    return _VARIABLE.sub(value, text)


def _invalid(line: int, source: str, problem: str) -> PhaseFailed:
    return PhaseFailed(
        "DockerfileInvalid",
        f"line {line}: {source[:200]!r} {problem}",
        step=source[:500],
        dockerfile_line=line,
    )


def _refused(line: int, source: str, problem: str) -> PhaseFailed:
    return PhaseFailed(
        "DockerfileRefused",
        f"line {line}: {source[:200]!r} {problem}",
        step=source[:500],
        dockerfile_line=line,
    )
