"""Cut a Dockerfile into instructions, at the very places where Buildah cuts it.

Two readers that disagree are two Dockerfiles: what is checked must be what is built. The rules are
those of https://github.com/openshift/imagebuilder (dockerfile/parser), which differ from Docker's
in one place: a parser directive counts only where no other line, not even another directive, stands
before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from controller.tasks.dockerfiles import heredocs
from controller.tasks.dockerfiles.heredocs import SPACE, Heredoc, LexError, TooDeepError
from controller.tasks.errors import PhaseFailed

_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(?P<character>.)")
_KEYWORD_END = re.compile(r"[\t\v\f\r ]+")
_WITH_HEREDOC = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its first line (from 1), keyword in capitals, flags, and the rest.

    `source` is the whole on one line, as Buildah prints it; `written` the lines that it stands on,
    without here-documents.
    """

    line: int
    keyword: str
    flags: tuple[tuple[str, str], ...]
    text: str
    source: str
    written: str

    def flag(self, name: str) -> str | None:
        """The last value given for a flag such as `from`."""
        return next((value for key, value in reversed(self.flags) if key == name), None)

    @property
    def end(self) -> int:
        """The last of its lines, without here-documents."""
        return self.line + self.written.count("\n")

    @property
    def heredocs(self) -> bool:
        """Whether sources or commands follow on lines of their own."""
        return bool(_heredocs(self))


def invalid(line: int, source: str, problem: str) -> PhaseFailed:
    """The failure that names a line Buildah could not read."""
    return _failed("DockerfileInvalid", line, source, problem)


def refused(line: int, source: str, problem: str) -> PhaseFailed:
    """The failure that names a line which leads where a Dockerfile must not lead."""
    return _failed("DockerfileRefused", line, source, problem)


def _failed(reason: str, line: int, source: str, problem: str) -> PhaseFailed:
    message = f"line {line}: {source[:200]!r} {problem}"
    return PhaseFailed(reason, message, step=source[:500], dockerfile_line=line)


def read(text: str) -> Iterator[Instruction]:
    """Every instruction. Raises PhaseFailed(DockerfileInvalid) with the line."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines[0] = lines[0].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    escape = _escape_character(lines)
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number].lstrip(SPACE)
        number += 1
        logical, continued = _continued("" if line.startswith("#") else line, escape)
        while continued and number < len(lines):
            line = lines[number]
            number += 1
            if line.lstrip(SPACE)[:1] in ("", "#"):
                continue  # comments and blank lines inside a continued instruction are dropped
            part, continued = _continued(line, escape)
            logical += part
        if not logical.strip(SPACE):
            continue
        written = "\n".join(lines[first - 1 : number])
        instruction = _instruction(first, logical.strip(SPACE), written)
        yield instruction
        for heredoc in _heredocs(instruction):
            number = _end_of_heredoc(instruction, lines, number, heredoc)


def _continued(line: str, escape: str) -> tuple[str, bool]:
    body = line.rstrip(" \t")
    return (body[:-1], True) if body.endswith(escape) else (line, False)


def _escape_character(lines: list[str]) -> str:
    match = _ESCAPE.match(lines[0].lstrip(SPACE).lower())
    if not match:
        return "\\"
    if match["character"] not in "\\`":
        raise invalid(1, lines[0], "must name the backslash or the backtick")
    return match["character"]


def _instruction(line: int, logical: str, written: str) -> Instruction:
    parts = _KEYWORD_END.split(logical, maxsplit=1)
    keyword, rest = parts[0].upper(), parts[1] if len(parts) > 1 else ""
    flags, text = _flags(rest)
    return Instruction(line, keyword, tuple(flags), text, f"{keyword} {rest}".strip(), written)


def inner(instruction: Instruction) -> Instruction:
    """What an ONBUILD instruction will do."""
    rest = instruction.source.partition(" ")[2].strip(SPACE)
    return _instruction(instruction.line, rest, instruction.written)


def _flags(rest: str) -> tuple[list[tuple[str, str]], str]:
    """The leading words that begin with `--`, without quotes and backslashes, and what follows.

    Upstream goes byte by byte and takes each for a character; so does this.
    """
    line = rest.encode("utf-8", "replace").decode("latin-1")
    flags: list[tuple[str, str]] = []
    at = 0
    while True:
        while line[at : at + 1] and line[at] in SPACE:
            at += 1
        if not line.startswith("--", at):
            break
        word, at = _flag_word(line, at)
        if word == "--":
            break
        name, _, value = word.removeprefix("--").partition("=")
        flags.append((name, value))
    return flags, line[at:].encode("latin-1").decode("utf-8", "replace").strip(SPACE)


def _flag_word(line: str, at: int) -> tuple[str, int]:
    word, quote = "", ""
    while at < len(line):
        char = line[at]
        if not quote and char in SPACE:
            break
        at += 1
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == "\\":
            word += line[at : at + 1]
            at += 1
        else:
            word += char
    return word, at


def _heredocs(instruction: Instruction) -> list[Heredoc]:
    """The here-documents that follow. Raises PhaseFailed(DockerfileInvalid)."""
    one = instruction
    while one.keyword == "ONBUILD":
        one = inner(one)
    line = instruction.source
    if one.keyword not in _WITH_HEREDOC or "<<" not in line or json_words(one.text) is not None:
        return []
    try:
        return heredocs.following(line)
    except LexError as error:
        raise invalid(instruction.line, line, str(error)) from error
    except TooDeepError as error:
        raise invalid(instruction.line, line, "nests its variables too deeply") from error


def json_words(text: str) -> list[str] | None:
    """The words of an instruction in JSON form; None where it is in another.

    Upstream's decoder ends where the array does, so what follows that does not count.
    """
    try:
        found = json.JSONDecoder().raw_decode(text)[0] if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return None
    return found


def _end_of_heredoc(
    instruction: Instruction, lines: list[str], number: int, heredoc: Heredoc
) -> int:
    while number < len(lines):
        line = lines[number].rstrip("\r\n")
        number += 1
        if (line.lstrip("\t") if heredoc.chomp else line) == heredoc.name:
            return number
    problem = f"has no line {heredoc.name[:200]} to end its text"
    raise invalid(instruction.line, instruction.source, problem)
