"""Write references to stages as the stages' names are written: Buildah tells them apart by case.

`docker build` takes `FROM x AS Builder` and `COPY --from=builder` for one name. The line is changed
where the reference stands in it plainly; where it comes from a variable it stays, and the reader of
the Dockerfile refuses it.
"""

from __future__ import annotations

import re

from controller.tasks.dockerfiles import references
from controller.tasks.dockerfiles.instructions import Instruction, read
from controller.tasks.dockerfiles.stages import StageNames


def as_declared(content: bytes) -> bytes:
    """The Dockerfile with such references changed, on the very lines where they were.

    Raises PhaseFailed(DockerfileInvalid) where it cannot be read.
    """
    # Bytes of no UTF-8 stay what they are.
    text = content.decode("utf-8", "surrogateescape")
    before = list(read(text))
    renamed = _renamed(before)
    if not any(renamed):
        return content
    lines = text.split("\n")
    for one, names in zip(before, renamed, strict=True):
        for name, declared in names.items():
            _replace(lines, one, name, declared)
    changed = "\n".join(lines)
    after = list(read(changed))
    # Only those names may have changed: the pattern may have met a word that is none.
    if len(after) != len(before) or not all(map(_as_wanted, before, renamed, after)):
        return content
    return changed.encode("utf-8", "surrogateescape")


def _renamed(instructions: list[Instruction]) -> list[dict[str, str]]:
    """For each instruction, its references that differ from one name by case only, and the name."""
    names = StageNames()
    found: list[dict[str, str]] = []
    for one in instructions:
        words = [word for word in references.written(one) if "$" not in word]
        alike = {word: names.alike(word) for word in words if names.number(word) is None}
        found.append({word: known[0] for word, known in alike.items() if len(known) == 1})
        if one.keyword == "FROM":
            words = one.text.split()
            names.add(words[2] if len(words) == 3 else None)
    return found


def _replace(lines: list[str], one: Instruction, name: str, declared: str) -> None:
    word = re.escape(name)
    pattern = rf"(?<=from=){word}(?![^\s,\"'\\])|(?<=from=[\"']){word}(?![^\s,\"'\\])"
    if one.keyword == "FROM":
        pattern = rf"(?<!\S){word}(?=\s+[Aa][Ss]\s|\s*\Z)|(?<=--after=){word}(?!\S)"
    for number in range(one.line - 1, one.end):
        lines[number] = re.sub(pattern, lambda _: declared, lines[number])


def _as_wanted(before: Instruction, renamed: dict[str, str], after: Instruction) -> bool:
    if not renamed:
        return before == after
    names = [renamed.get(name, name) for name in references.written(before)]
    rest = [one.text.split()[1:] if one.keyword == "FROM" else one.text for one in (before, after)]
    return (
        (before.line, before.keyword, rest[0]) == (after.line, after.keyword, rest[1])
        and before.source.lower() == after.source.lower()
        and references.written(after) == names
    )
