"""Known secret values, and their removal from every line that a task writes."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

MASK = "[redacted]"
# Shorter values would blank out ordinary words; a secret of three characters is none.
_SHORTEST = 4


class Redactor:
    """Replaces registered values, in every encoding that common tools print, by a mask.

    Covered: the value itself, percent-encoded, JSON-escaped, base64 (standard and URL-safe, with
    and without padding) of the value, and each line of a value of several lines (keys).
    """

    def __init__(self) -> None:
        self._variants: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *values: str) -> None:
        """Register secret values. What is shorter than four characters is left out."""
        for value in values:
            for part in {value, *value.splitlines()}:
                if len(part.strip()) >= _SHORTEST:
                    self._variants |= _encodings(part.strip())
        if self._variants:
            longest_first = sorted(self._variants, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """`text` with every registered value masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _encodings(value: str) -> set[str]:
    raw = value.encode()
    encoded = {
        value,
        json.dumps(value)[1:-1],
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote(value),
        urllib.parse.quote_plus(value),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(raw).decode()
        encoded |= {text, text.rstrip("=")}
    return {text for text in encoded if len(text) >= _SHORTEST}
