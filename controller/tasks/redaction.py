"""Known secret values, and their removal from every line that a task writes.

A value is looked for in what common tools make of it:

- as it is, and with its special characters escaped in any way that JSON, Python, Go, shells, URLs,
  XML and HTML do, mixed as they like;
- in base64, standard or URL-safe, alone or inside of something longer (`user:password`);
- in hexadecimal, capitals or not, with or without colons, blanks, `%` or `\\x` between the bytes;
- in pieces of at least eight characters, where a line is nothing but such a piece (`fold`,
  `base64 -w 76`) and where a row of a hex dump holds one.

What is encrypted, compressed, reversed or spelled out is not found: a program that is given a
secret can always give it away. Where nothing is found, which is the usual line, the cost is a few
searches for fixed strings.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

MASK = "[redacted]"
# Shorter values would blank out ordinary words; a secret of three characters is none.
_SHORTEST = 4
_PIECE = 8  # characters of an encoded value that are no coincidence
_LONGEST_ROW = 256  # characters; programs that wrap lines wrap them earlier
_CUT_FROM = 2 * _PIECE  # shorter values are not looked for in pieces
# A row of a hex dump, `68:75:6e`, `%68%75`, `\x68\x75`, `6875 6e74`; without
# a break it is found as it is.
_BREAK = r"(?: ?\\x|[ :%])"
_TWO = "[0-9A-Fa-f][0-9A-Fa-f]"
_ROW = re.compile(rf"(?<![0-9A-Za-wyz]){_TWO}(?:{_TWO})?{_BREAK}{_TWO}(?:{_BREAK}?{_TWO})+")
_BREAKS = re.compile(_BREAK)
_WORD = re.compile(r"[A-Za-z0-9]+")
_BACKSLASHES = re.compile(r"\\+")
_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BACKSLASHED = {"\n": "n", "\t": "t", "\r": "r"}


@dataclass(frozen=True, slots=True)
class _Secret:
    """One value. `word` is in every escaped form, which `escaped` matches; `base64` has the value
    at its three alignments, `hex` its bytes."""

    word: str
    escaped: re.Pattern[str]
    base64: tuple[str, ...]
    hex: str
    pieces_of: tuple[str, ...]


class Redactor:
    """Replaces registered values, in the forms that this module's docstring lists, by a mask."""

    def __init__(self) -> None:
        self._secrets: dict[str, _Secret] = {}
        self._words: list[tuple[str, re.Pattern[str]]] = []
        self._base64: list[str] = []
        self._hex: list[str] = []

    def add(self, *values: str) -> None:
        """Register secret values. What is shorter than four characters is left out."""
        for value in values:
            for part in {value, *value.splitlines()}:
                part = part.strip()
                if len(part) >= _SHORTEST and part not in self._secrets:
                    self._secrets[part] = _secret(part)
        # Longer ones first: one may be part of another.
        found = [self._secrets[value] for value in sorted(self._secrets, key=len, reverse=True)]
        self._words = [(one.word, one.escaped) for one in found]
        self._base64 = [text for one in found for text in one.base64]
        self._hex = [text for one in found for text in (one.hex, one.hex.upper())]

    def redact(self, text: str) -> str:
        """`text` with every registered value masked."""
        if not self._secrets:
            return text
        for word, escaped in self._words:
            if word in text:
                text = escaped.sub(MASK, text)
        standard = _standard(text)
        for encoded in self._base64:
            if encoded in standard:
                text = _cut_out(text, standard, encoded)
                standard = _standard(text)
        for digits in self._hex:
            if digits in text:
                text = text.replace(digits, MASK)
        text = _ROW.sub(self._without_row, text)
        if _PIECE <= len(text) <= _LONGEST_ROW and " " not in text:
            text = self._without_pieces(text)
        return text

    def _without_row(self, found: re.Match[str]) -> str:
        digits = _BREAKS.sub("", found[0]).lower()
        for secret in self._secrets.values():
            if secret.hex in digits or (
                len(secret.hex) >= 2 * _CUT_FROM and _piece(digits, secret.hex, 2 * _PIECE)
            ):
                return MASK
        return found[0]

    def _without_pieces(self, text: str) -> str:
        forms = (text, _standard(text.rstrip("=")), text.lower())
        for secret in self._secrets.values():
            for whole in secret.pieces_of:
                if any(_piece(form, whole, _PIECE) for form in forms):
                    return MASK
        return text


def _standard(text: str) -> str:
    """`text` with the letters of URL-safe base64 as the standard ones."""
    return text.replace("-", "+").replace("_", "/")


def _secret(value: str) -> _Secret:
    raw = value.encode("utf-8", "surrogateescape")
    encoded = tuple(one for one in map(_aligned(raw), range(3)) if len(one) >= _SHORTEST)
    return _Secret(
        word=max(_WORD.findall(value) or [""], key=len),
        escaped=re.compile("".join(map(_escapes, _BACKSLASHES.sub(r"\\", value)))),
        base64=encoded,
        hex=raw.hex(),
        pieces_of=(value, *encoded, raw.hex()) if len(value) >= _CUT_FROM else (),
    )


def _aligned(raw: bytes) -> Callable[[int], str]:
    """The characters of base64 that `raw` alone decides where it begins at byte N of three."""

    def encode(before: int) -> str:
        text = base64.b64encode(bytes(before) + raw + b"\0\0").decode()
        return text[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]

    return encode


def _escapes(character: str) -> str:
    """A pattern for one character in every form that it may take.

    It matches in one way only and looks at few characters: a hostile line must not take long.
    """
    if character.isascii() and character.isalnum():
        return character
    raw = character.encode("utf-8", "surrogateescape")
    utf16 = character.encode("utf-16-be", "surrogatepass")
    units = [utf16[at : at + 2].hex() for at in range(0, len(utf16), 2)]
    number = ord(character)
    forms = [
        "".join(rf"%(?i:{byte:02x})" for byte in raw),
        rf"&\#0{{0,5}}{number};",
        rf"&\#[xX]0{{0,5}}(?i:{number:x});",
    ]
    if character in _NAMED:
        forms.append(f"&{_NAMED[character]};")
    if character == " ":
        forms.append(r"\+")
    if character == "'":
        forms += [r"'\\''", "'\"'\"'"]
    if character == "\\":
        # Several in a row are one for this pattern: each program that quotes doubles them.
        return rf"(?:\\{{1,16}}+|(?:{'|'.join(forms)}){{1,16}}+)"
    backslashed = [
        re.escape(character),
        "".join(rf"\\{{0,8}}x(?i:{byte:02x})" for byte in raw),
        "".join(rf"\\{{0,8}}u(?i:{unit})" for unit in units),
        f"U(?i:{number:08x})",
    ]
    if character in _BACKSLASHED:
        backslashed.append(_BACKSLASHED[character])
    return rf"(?:{'|'.join(forms)}|\\{{0,8}}+(?:{'|'.join(backslashed)}))"


def _cut_out(text: str, standard: str, encoded: str) -> str:
    """`text` without the places where `standard`, of the same length, has `encoded`."""
    kept, at = [], 0
    while (found := standard.find(encoded, at)) >= 0:
        kept.append(text[at:found])
        at = found + len(encoded)
    return MASK.join([*kept, text[at:]])


def _piece(text: str, whole: str, least: int) -> bool:
    """Whether `text` is a piece of `whole`, ends with its beginning, or begins with its end."""
    if len(text) < least:
        return False
    if text in whole:
        return True
    begins = text.rfind(whole[:least])
    if begins >= 0 and whole.startswith(text[begins:]):
        return True
    ends = text.find(whole[-least:])
    return ends >= 0 and whole.endswith(text[: ends + least])
