"""The stages of a Dockerfile and how they are named: by AS, or by number.

Buildah tells names apart by case. `docker build` does not: `AS Builder` and `--from=builder` are
one there. So what differs by case only is never taken for an image here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.tasks.dockerfiles.instructions import Instruction


@dataclass(slots=True)
class Stage:
    """A build stage: what it is based on, its name if it has one, its instructions after FROM."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)


class StageNames:
    """The names of the stages so far."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._alike: dict[str, list[str]] = {}
        self._count = 0

    def add(self, name: str | None) -> None:
        """One stage more; the last of several of a name is the one that counts."""
        if name and name not in self._numbers:
            self._alike.setdefault(name.lower(), []).append(name)
        if name:
            self._numbers[name] = self._count
        self._count += 1

    def number(self, word: str) -> int | None:
        """The stage that a word names, as Buildah has it."""
        if word in self._numbers:
            return self._numbers[word]
        number = int(word) if is_number(word) else self._count
        return number if number < self._count else None

    def alike(self, word: str) -> list[str]:
        """The names that differ from a word by case only."""
        return [name for name in self._alike.get(word.lower(), ()) if name != word]


def is_number(word: str) -> bool:
    """Whether a word can be the number of a stage."""
    # Unicode has digits that are none, and Python refuses to read numbers of very many.
    return word.isascii() and word.isdigit() and len(word) < 9


def stage_number(stages: Sequence[Stage], name: str) -> int | None:
    """The stage of a name, the last of several, or of a number."""
    return _names(stages).number(name)


def target_number(stages: Sequence[Stage], target: str | None) -> int | None:
    """The stage that a request's target names, whatever its case; the last where it names none."""
    if target is None:
        return len(stages) - 1
    names = _names(stages)
    alike = names.alike(target)
    number = names.number(target)
    return names.number(alike[0]) if number is None and len(alike) == 1 else number


def _names(stages: Sequence[Stage]) -> StageNames:
    names = StageNames()
    for stage in stages:
        names.add(stage.name)
    return names
