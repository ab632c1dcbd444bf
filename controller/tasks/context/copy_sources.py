"""Whether the sources of COPY and ADD are in the build context, as Buildah looks for them.

A path must be there. A pattern may match nothing as long as another source of the instruction is
there (`COPY package.json yarn.lock* ./`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from controller.tasks.context import ignore
from controller.tasks.dockerfiles.instructions import Instruction, json_words
from controller.tasks.dockerfiles.substitution import SubstitutionError, expand

_REMOTE = re.compile(r"(?:https?|ftp|git|ssh)://|git@|\S+\.git(?:#|\Z)")
_MISSING = ("is not in the build context", "correct the path: it is relative to the context")
_LEFT_OUT = ("is left out by .dockerignore", "correct .dockerignore")


@dataclass(frozen=True, slots=True)
class Context:
    """Paths in the build context, those that .dockerignore leaves, and those that are links."""

    files: Collection[str]
    left: Collection[str]
    links: Collection[str]

    def problem(self, source: str) -> tuple[str, str] | None:
        """Why a source names nothing, and the way out; None where nothing is to be said of it."""
        if "$" in source or ignore.through(source, self.links) or ignore.found(source, self.left):
            return None
        if not ignore.found(source, self.files):
            return _MISSING
        # A directory of which every file is left out is copied all the same, empty.
        return _LEFT_OUT if ignore.names_a_file(source, self.files) else None


def problems(instruction: Instruction, context: Context) -> Iterator[tuple[str, str]]:
    """What is wrong with an instruction's sources, and the way out."""
    if instruction.keyword not in ("COPY", "ADD") or instruction.heredocs:
        return
    if instruction.flag("from") is not None:
        return
    words = _words(instruction.text)
    if len(words) < 2:
        yield (
            f"{instruction.keyword} needs a source and a destination",
            f"write {instruction.keyword} SOURCE… DESTINATION",
        )
    found = {source: context.problem(source) for source in words[:-1] if not _REMOTE.match(source)}
    for source, problem in found.items():
        if problem and not (ignore.is_pattern(source) and None in found.values()):
            yield f"{source[:200]!r} {problem[0]}", problem[1]


def sources(instruction: Instruction, values: Mapping[str, str]) -> Iterator[str]:
    """The sources in the context, arguments filled in where their values are known."""
    for word in _words(instruction.text)[:-1]:
        if not _REMOTE.match(word) and not word.startswith("<<"):
            try:
                yield expand(word, values) or "."
            except SubstitutionError:
                yield "."


def _words(text: str) -> list[str]:
    found = json_words(text)
    return [word.strip("\"'") for word in text.split()] if found is None else found
