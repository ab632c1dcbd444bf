"""Which here-documents follow an instruction, by the very rules by which Buildah finds them.

Those are BuildKit's (https://github.com/moby/buildkit, frontend/dockerfile/shell/lex.go), with no
variable set: a line that this lexer cannot read has none. A here-document that only one of two
readers sees hides instructions from the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What Go takes for white space: https://pkg.go.dev/unicode#IsSpace
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_HEREDOC = re.compile(r"[0-9]*<<(?P<chomp>-?)[\t\n\f\r ]*(?P<name>[^<]*)\Z")
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Heredoc:
    """The line that ends a here-document, and whether leading tabs are taken off its lines."""

    name: str
    chomp: bool


class LexError(ValueError):
    """Words that cannot be told apart."""


class TooDeepError(Exception):
    """Words that could be told apart, and are nested deeper than is looked at here."""


def following(line: str) -> list[Heredoc]:
    """The here-documents of a line. Raises LexError for one whose name cannot be read.

    Raises TooDeepError for what no author writes.
    """
    try:
        words = _Lexer(line, raw=True).words()
    except LexError:
        return []
    found = []
    for word in words:
        if (match := _HEREDOC.match(word)) and match["name"]:
            names = _Lexer(match["name"], raw=False).words()
            if len(names) == 1:
                found.append(Heredoc(names[0], bool(match["chomp"])))
    return found


class _Lexer:
    """Words as a shell sees them; with `raw`, quotes and backslashes are left in."""

    def __init__(self, text: str, *, raw: bool) -> None:
        self._text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
        self._at = 0
        self._raw_quotes = self._raw_escapes = raw
        # One for all depths, as upstream: what is nested takes the begun word away.
        self._word: list[str] = []

    def words(self) -> list[str]:
        """All words. Raises LexError and TooDeepError."""
        return self._until("", self._raw_escapes, 0)[1]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _until(self, stop: str, raw_escapes: bool, depth: int) -> tuple[str, list[str]]:
        """Read up to a character: all of it, and its words."""
        if depth > _DEEPEST:
            raise TooDeepError
        outside, self._raw_escapes = self._raw_escapes, raw_escapes
        self._word.clear()
        read: list[str] = []
        words: list[str] = []
        within = False
        while (char := self._peek()) and char != stop:
            piece, splits = self._piece(char, depth)
            read.append(piece)
            for part in piece if splits else (piece,):
                if not (splits and part in SPACE):
                    self._word.append(part)
                    within = True
                elif within and any(self._word):
                    words.append(self._taken())
                    within = False
        if stop and not self._next():
            raise LexError(f"lacks the closing {stop}")
        self._raw_escapes = outside
        return "".join(read), [*words, *([self._taken()] if any(self._word) else [])]

    def _taken(self) -> str:
        word = "".join(self._word)
        self._word.clear()
        return word

    def _piece(self, char: str, depth: int) -> tuple[str, bool]:
        """What comes next, and whether blanks in it end a word."""
        if char == "$":
            return self._variable(depth), True
        if char == "<":
            return self._less(), False
        if char == "'":
            return self._single_quoted(), False
        if char == '"':
            return self._double_quoted(depth), False
        if self._next() == "\\":
            return (char if self._raw_escapes else "") + self._next(), False
        return char, True

    def _less(self) -> str:
        """`<<` has the blanks behind it in its word."""
        begin = self._at
        self._at += 1
        if self._peek() == "<":
            self._at += 1
            while self._peek() and self._peek() in "\t\r ":
                self._at += 1
        return self._text[begin : self._at]

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise LexError("lacks the closing '")
        begin, self._at = self._at, end + 1
        return self._text[begin : end + 1] if self._raw_quotes else self._text[begin + 1 : end]

    def _double_quoted(self, depth: int) -> str:
        quote = self._next() if self._raw_quotes else self._next()[:0]
        found = [quote]
        while char := self._peek():
            if char == "$":
                found.append(self._variable(depth))
                continue
            self._at += 1
            if char == '"':
                return "".join([*found, quote])
            if char == "\\":
                found.append(char if self._raw_escapes else "")
                if not self._peek():
                    break
                if self._peek() in '"$\\':
                    char = self._next()
            found.append(char)
        raise LexError('lacks the closing "')

    def _variable(self, depth: int) -> str:
        """It stays as it is written, but for backslashes; it is read to find its end."""
        self._at += 1
        if self._peek() != "{":
            return f"${self._name()}"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise LexError("has a variable without a name")
        name, operator = self._name(), self._next()
        if operator == "}":
            return f"${{{name}}}"
        if operator == "/":
            self._at += self._peek() == "/"
            pattern, _ = self._until("/", True, depth + 1)
            replacement, _ = self._until("}", True, depth + 1)
            return f"${{{name}/{pattern}/{replacement}}}"
        kind = self._next() if operator == ":" else operator
        if (operator == ":" and kind and kind in "#%") or operator not in tuple(":+-?#%"):
            raise LexError("has an operator that is none")
        word, _ = self._until("}", kind in tuple("#%"), depth + 1)
        return f"${{{name}{operator if operator == ':' else ''}{kind}{word}}}"

    def _name(self) -> str:
        begin = self._at
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif self._peek() and self._peek() in "@*#?-$!":
            self._at += 1
        else:
            while self._peek().isalpha() or self._peek().isdecimal() or self._peek() == "_":
                self._at += 1
        return self._text[begin : self._at]
