"""Which lines of a log go into an answer of bounded size, and in what shape. Pure.

A budget is in characters. Agents count tokens: a token of log text is taken for three characters,
which real tokenizers undercut only for text that is not mostly words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.contract.log_line import parse_line

CHARACTERS_PER_TOKEN = 3
_SHORTEST = 200  # characters that are shown of any line
_SEPARATOR = "--"  # between groups of lines, as grep writes it


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a phase's log: its number, the byte of the file after it, and itself.

    Numbers count from 1 at the first line that was read: in a search that is the file's first.
    """

    number: int
    end: int
    raw: bytes

    @property
    def text(self) -> str:
        """What the program wrote, without time and stream."""
        return parse_line(self.raw).text


@dataclass(slots=True)
class Excerpt:
    """Chosen lines, whether others were left out before or after them, and where they end."""

    lines: list[str] = field(default_factory=list)
    left_out: bool = False
    end: int | None = None


def cut(text: str, most: int) -> str:
    """A line of at most about `most` characters, the middle left out."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} …({len(text) - most} characters left out)… {text[head - most :]}"


def newest(
    phases: Mapping[str, Sequence[Line]], budget: int | None, tail: int | None
) -> dict[str, Excerpt]:
    """The last lines: the later the phase, the sooner it gets its share of the budget."""
    chosen: dict[str, Excerpt] = {}
    left = budget
    for phase in reversed(list(phases)):
        lines = phases[phase]
        wanted = lines[-tail:] if tail else lines
        kept: list[str] = []
        for line in reversed(wanted):
            text = line.text if budget is None else cut(line.text, _line_limit(budget))
            if left is not None:
                left -= len(text) + 1
                if left < 0:
                    break
            kept.append(text)
        kept.reverse()
        end = lines[-1].end if lines else None
        chosen[phase] = Excerpt(kept, len(kept) < len(lines), end)
    return chosen


def oldest(lines: Iterable[Line], budget: int | None) -> Excerpt:
    """The first lines, at least one of them; `end` is where to go on."""
    excerpt, used = Excerpt(), 0
    for line in lines:
        text = line.text if budget is None else cut(line.text, _line_limit(budget))
        used += len(text) + 1
        if budget is not None and used > budget and excerpt.lines:
            excerpt.left_out = True
            break
        excerpt.lines.append(text)
        excerpt.end = line.end
    return excerpt


class Search:
    """Collects matching lines with their surroundings, as `grep -n -C` shows them.

    Fed with every line of a phase in order. What does not fit the budget any more is counted only;
    `end` is the byte to search on from, or None while everything was shown.
    """

    def __init__(
        self, matches: Callable[[str], object], *, context: int, budget: int, after: int = 0
    ) -> None:
        self.lines: list[str] = []
        self.count = 0
        self.end: int | None = None
        self.used = 0
        self._matches = matches
        self._context = context
        self._budget = budget
        self._after = after
        self._before: deque[Line] = deque(maxlen=context)
        self._rest = 0  # lines of context still to come after the last match
        self._shown = 0  # number of the last line that was shown
        self._shown_end = after

    def feed(self, line: Line) -> None:
        """Take the next line."""
        if line.end <= self._after:
            return
        text = line.text
        if self._matches(text):
            self.count += 1
            if self.end is None:
                self._show_match(line, text)
        elif self._rest and self.end is None:
            self._rest -= 1
            self._show(line, "-")
        self._before.append(line)

    def _show_match(self, line: Line, text: str) -> None:
        before = [one for one in self._before if one.number > self._shown]
        if self.used and self.used + len(text) > self._budget:
            self.end = self._shown_end
            return
        first = before[0].number if before else line.number
        if self._context and self.lines and first > self._shown + 1:
            self.lines.append(_SEPARATOR)
        for one in before:
            self._show(one, "-")
        self._show(line, ":")
        self._rest = self._context

    def _show(self, line: Line, mark: str) -> None:
        text = f"{line.number}{mark}{cut(line.text, _line_limit(self._budget))}"
        self.lines.append(text)
        self.used += len(text) + 1
        self._shown, self._shown_end = line.number, line.end


def _line_limit(budget: int) -> int:
    return max(_SHORTEST, budget // 4)
