"""Fill in variables and take off quotes, exactly as Buildah does in FROM, ARG and flags.

https://github.com/openshift/imagebuilder (shell_parser.go), with its limits: an alternative needs
the colon (`${X:-d}`, `${X:+d}`, `${X:?d}`), and `#`, `##`, `%`, `%%`, `/`, `//`, `/#`, `/%` take
patterns of Go's path.Match. The words are somebody else's, so nesting and length are bounded, and
the length of what a pattern with wildcards is tried on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from controller.tasks.context import ignore

_DEEPEST = 20
_LONGEST = 1 << 16
_MOST_FILLED_IN = 1 << 20  # characters, of all variables of a word
_LONGEST_MATCHED = 256  # a pattern may be tried on every part of a value
_WILD = re.compile(r"[*?\[\\]")


class SubstitutionError(ValueError):
    """What Buildah could not fill in either; the message says why."""


class TooLongError(SubstitutionError):
    """What Buildah could fill in, and what would take too much time or room here."""


def expand(word: str, values: Mapping[str, str]) -> str:
    """Return the word as Buildah reads it. Raises SubstitutionError."""
    return _Reader(word, values).until("", 0)[0]


class _Reader:
    def __init__(self, word: str, values: Mapping[str, str]) -> None:
        self._word = word.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # as Go's scanner does
        self._values = values
        self._at = 0
        self._filled_in = 0

    def until(self, stops: str, depth: int) -> tuple[str, str]:
        """Read up to one of the characters; what was read, and the character."""
        if depth > _DEEPEST:
            raise TooLongError("nests its variables too deeply")
        found: list[str] = []
        while char := self._next():
            if char in stops:
                return _bounded("".join(found)), char
            if char == "'":
                found.append(self._single_quoted())
            elif char == '"':
                found.append(self._double_quoted(depth))
            elif char == "$":
                found.append(self._bounded_variable(depth))
            else:
                found.append(self._next() if char == "\\" else char)
        if stops:
            raise SubstitutionError(f"lacks the closing {stops[-1]}")
        return _bounded("".join(found)), ""

    def _next(self) -> str:
        self._at += 1
        return self._word[self._at - 1 : self._at]

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _taken(self, char: str) -> bool:
        taken = self._peek() == char
        self._at += taken
        return taken

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise SubstitutionError("lacks the closing '")
        found, self._at = self._word[self._at : end], end + 1
        return found

    def _double_quoted(self, depth: int) -> str:
        found: list[str] = []
        while char := self._next():
            if char == '"':
                return "".join(found)
            if char == "$":
                found.append(self._bounded_variable(depth))
            elif char == "\\" and self._peek() in ('"', "$", "\\", ""):
                found.append(self._next())
            else:
                found.append(char)
        raise SubstitutionError('lacks the closing "')

    def _name(self) -> str:
        start = self._at
        if self._peek().isdigit():
            return self._next()
        while self._peek().isalnum() or self._peek() == "_":
            self._at += 1
        return self._word[start : self._at]

    def _bounded_variable(self, depth: int) -> str:
        value = self._variable(depth)
        self._filled_in += len(value)
        if self._filled_in > _MOST_FILLED_IN:
            raise TooLongError("grows too long while its variables are filled in")
        return value

    def _variable(self, depth: int) -> str:
        if not self._taken("{"):
            name = self._name()
            return self._values.get(name, "") if name else "$"
        name = self._name()
        value, operator = self._values.get(name, ""), self._next()
        if operator == "}":
            return value
        if operator == ":":
            kind = self._next()
            other, _ = self.until("}", depth + 1)
            if kind == "-" or (kind == "?" and (value or other)):
                return value or other
            if kind == "+":
                return other if value else ""
            problem = f"needs a value for {name}" if kind == "?" else f"has the unknown :{kind}"
            raise SubstitutionError(problem)
        if operator and operator in "#%":
            greedy = self._taken(operator)
            pattern, _ = self.until("}", depth + 1)
            if not pattern:
                raise SubstitutionError(f"has no pattern in ${{{name}{operator}}}")
            cut = _without_prefix if operator == "#" else _without_suffix
            return cut(_matchable(value, pattern), pattern, greedy)
        if operator == "/":
            how = self._next() if self._peek() in ("/", "#", "%") and self._peek() else ""
            pattern, stop = self.until("/}", depth + 1)
            replacement = self.until("}", depth + 1)[0] if stop == "/" else ""
            if not pattern:
                raise SubstitutionError(f"has no pattern in ${{{name}/}}")
            return _bounded(_replaced(_matchable(value, pattern), pattern, replacement, how))
        raise SubstitutionError(f"has ${{{name} without :-, :+, :?, #, %, / or }}")


def _bounded(text: str) -> str:
    if len(text) > _LONGEST:
        raise TooLongError("grows too long once its variables are filled in")
    return text


def _matchable(value: str, pattern: str) -> str:
    if len(value) > _LONGEST_MATCHED and _WILD.search(pattern):
        raise TooLongError(f"matches a pattern against more than {_LONGEST_MATCHED} characters")
    return value


def _matches(pattern: str, text: str) -> bool:
    """Go's path.Match: no wildcard matches a slash."""
    patterns, parts = pattern.split("/"), text.split("/")
    return len(patterns) == len(parts) and all(map(ignore.matches, patterns, parts))


def _without_prefix(value: str, pattern: str, greedy: bool) -> str:
    # As upstream has it, the shortest prefix is never all but the last character, nor the whole.
    ends = range(len(value) - 1, -1, -1) if greedy else range(len(value) - 1)
    if not _WILD.search(pattern):
        fits = value.startswith(pattern) and len(pattern) in ends
        return value[len(pattern) :] if fits else value
    return next((value[end:] for end in ends if _matches(pattern, value[:end])), value)


def _without_suffix(value: str, pattern: str, greedy: bool) -> str:
    starts = range(len(value) - 1) if greedy else range(len(value) - 1, -1, -1)
    if not _WILD.search(pattern):
        start = len(value) - len(pattern)
        return value[:start] if value.endswith(pattern) and start in starts else value
    return next((value[:start] for start in starts if _matches(pattern, value[start:])), value)


def _replaced(value: str, pattern: str, replacement: str, how: str) -> str:
    """Replace the first match, every one (`/`), only one at the beginning (`#`) or end (`%`)."""
    if not _WILD.search(pattern):
        if how == "#":
            fits = value.startswith(pattern)
            return replacement + value[len(pattern) :] if fits else value
        if how == "%":
            return value[: -len(pattern)] + replacement if value.endswith(pattern) else value
        most = value.count(pattern) if how == "/" else 1
        if len(value) + most * len(replacement) > 2 * _LONGEST:
            raise TooLongError("grows too long once its variables are filled in")
        return value.replace(pattern, replacement, most)
    at = 0
    while at < len(value):
        for end in range(len(value), at, -1):
            if (how == "#" and at) or (how == "%" and end != len(value)):
                continue
            if _matches(pattern, value[at:end]):
                value = value[:at] + replacement + value[end:]
                if how != "/":
                    return value
                at += len(replacement) - 1
                break
        at += 1
        _bounded(value)
    return value
