"""Known secrets leave no trace in any encoding that tools print."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import string
import textwrap
import time
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.contract.log_line import clean
from controller.tasks.redaction import MASK, Redactor

# A part of the mask itself is not hidden by it.
SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40
).filter(lambda secret: secret not in MASK)
WORDS = st.text(string.ascii_letters + string.digits + "/+-_.", min_size=32, max_size=120)
# What a line holds around a secret; it must not continue an encoding by accident.
AROUND = st.text("ghi xyz!{}<>\n", max_size=20)


def percent(safe: str) -> Callable[[str], str]:
    return lambda value: urllib.parse.quote(value, safe=safe)


def lower_escapes(value: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda one: one[0].lower(), percent("")(value))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": percent(""),
    "percent of a path": percent("/"),
    "encodeURIComponent": percent("!~*'()"),
    "encodeURI": percent("!~*'();/?:@&=+$,#"),
    "percent lower": lower_escapes,
    "form": urllib.parse.quote_plus,
    "every byte percent-encoded": lambda value: "".join(f"%{ord(one):02X}" for one in value),
    "json": lambda value: json.dumps(value)[1:-1],
    "json in json": lambda value: json.dumps(json.dumps(value))[3:-3],
    "json of php": lambda value: json.dumps(value)[1:-1].replace("/", r"\/"),
    "json for html": lambda value: re.sub(
        "[<>&']", lambda one: f"\\u{ord(one[0]):04x}", json.dumps(value)[1:-1]
    ),
    "python": lambda value: repr(value)[1:-1],
    "shell": lambda value: shlex.quote(value).removeprefix("'").removesuffix("'"),
    "set -x": lambda value: value.replace("'", "'\\''"),
    "printf %q": re.escape,
    "html": html.escape,
    "html of go": lambda value: html.escape(value).replace("&#x27;", "&#39;"),
    "xml": lambda value: html.escape(value).replace("&#x27;", "&apos;"),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "hex with colons": lambda value: value.encode().hex(":"),
    "hex dump": lambda value: value.encode().hex(" "),
    "xxd": lambda value: value.encode().hex(" ", -2),
    "c string": lambda value: "".join(f"\\x{ord(one):02x}" for one in value),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 unpadded": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "base64 url": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=50)
@given(SECRETS, AROUND, AROUND)
def test_redaction_every_encoding(encoding: str, secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    encoded = ENCODINGS[encoding](secret)
    redacted = redactor.redact(f"{before} {encoded} {after}")
    assert MASK in redacted
    assert encoded.strip("=") not in redacted
    assert secret not in redacted


@settings(max_examples=50)
@given(SECRETS, st.binary(max_size=20), st.binary(max_size=20), st.booleans())
def test_redaction_inside_a_larger_base64(
    secret: str, before: bytes, after: bytes, url_safe: bool
) -> None:
    redactor = Redactor()
    redactor.add(secret)
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    line = f"Authorization: Basic {encode(before + b':' + secret.encode() + after).decode()}"
    redacted = redactor.redact(line)
    assert MASK in redacted
    assert known(secret, redacted.rpartition(" ")[2]) <= 2


def known(secret: str, encoded: str) -> int:
    """The most bytes of the secret in a row that can be read from what is left of a base64."""
    left = 0
    for piece in encoded.translate(str.maketrans("-_", "+/")).rstrip("=").split(MASK):
        for shift in range(4):
            text = "A" * shift + piece
            raw = base64.b64decode(text + "A" * (-len(text) % 4))
            for size in range(1, len(secret) + 1):
                if any(one.encode() in raw for one in windows(secret, size)):
                    left = max(left, size)
    return left


@pytest.mark.parametrize("width", [60, 64, 70, 76])
@pytest.mark.parametrize("encoding", ["plain", "base64", "base64 url", "hex"])
@settings(max_examples=50)
@given(WORDS, st.text("xyz", max_size=30))
def test_redaction_of_wrapped_lines(width: int, encoding: str, secret: str, user: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    text = ENCODINGS[encoding](f"{user}:{secret}")
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    redacted = "".join(redactor.redact(line) for line in lines)
    plain = ENCODINGS[encoding](secret).rstrip("=")
    assert not any(window in redacted for window in windows(plain, 12))


@settings(max_examples=50)
@given(WORDS)
def test_redaction_of_a_hex_dump(secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    raw = f"user:{secret}\n".encode()
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        if len(row) >= 16 and at:
            for shown in (row.hex(" "), row.hex(" ", -2), row.hex(" ").upper()):
                assert redactor.redact(f"{at:08x}  {shown}  |{'.' * 16}|").count(MASK) == 1


def windows(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


@settings(max_examples=50)
@given(SECRETS, st.integers(1, 7))
def test_redaction_of_a_value_in_colours(secret: str, at: int) -> None:
    redactor = Redactor()
    redactor.add(secret)
    line = f"\x1b[1m{secret[:at]}\x1b[31;1m{secret[at:]}\x1b[0m"
    assert redactor.redact(clean(line)) == MASK


@settings(max_examples=50)
@given(st.text(min_size=8, max_size=40).filter(lambda text: len(text.strip()) >= 8))
def test_redaction_of_any_text(secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    for line in secret.splitlines():
        if len(line.strip()) >= 8 and line.strip() not in MASK:
            for encoding in ("plain", "json", "percent", "html", "hex"):
                encoded = ENCODINGS[encoding](line.strip()) if line.isascii() else line.strip()
                assert encoded not in redactor.redact(f"{encoded}")


def test_redaction_lines_of_a_key() -> None:
    redactor = Redactor()
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\nBBBBBBBBBBBB\n-----END KEY-----\n"
    redactor.add(key)
    assert redactor.redact("x BBBBBBBBBBBB y") == f"x {MASK} y"
    assert redactor.redact(f"key = {json.dumps(key)}").count(MASK) == 1
    encoded = base64.b64encode(key.encode()).decode()
    assert all(MASK in redactor.redact(line) for line in textwrap.wrap(encoded, 20))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_redaction_of_awkward_values(encoding: str) -> None:
    for secret in (
        "\\\\\\\\",
        "a\\\\b\\'c\"d",
        "'\"'\"'",
        "&amp;&#38;<>",
        "%25%41",
        "$`!#~*",
        "++//==",
    ):
        redactor = Redactor()
        redactor.add(secret)
        assert ENCODINGS[encoding](secret) not in redactor.redact(
            f"x {ENCODINGS[encoding](secret)} y"
        )


def test_redaction_of_a_value_within_another() -> None:
    redactor = Redactor()
    redactor.add("hunter2", "hunter2-and-more")
    assert redactor.redact("hunter2-and-more hunter2") == f"{MASK} {MASK}"


def test_redaction_leaves_other_text() -> None:
    redactor = Redactor()
    redactor.add("", "abc", "9c5f6a80e1b94d12a7c3", "correct horse battery staple")
    for line in (
        "abc def",
        "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
        "00000010  6f 66 20 74 68 65 20 77  6f 72 6c 64 0a 00 00 00  |of the world....|",
        "12:34:56:78:9a:bc",
        "dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxs",
        "100% [====>] 00:12 eta 10 MB",
        "staple",
    ):
        assert redactor.redact(line) == line


def test_redaction_takes_time_in_proportion_to_the_text() -> None:
    """The worst lines that could be written for it: beginnings of the secret and its forms."""
    redactor = Redactor()
    redactor.add(
        "a/" * 30, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "\\'\"&<>" * 6, "%25" * 20, "&amp;" * 20
    )
    for unit in (
        "a/",
        "a",
        "\\",
        "&",
        "%61",
        "61 ",
        "YWFh",
        "\\\\x61",
        "&#x61;",
        "%25",
        "&amp;",
        "'\\''",
    ):
        seconds = []
        for size in (2_000, 32_000):
            line = (unit * size)[:size]
            begun = time.process_time()
            redactor.redact(line)
            seconds.append(time.process_time() - begun)
            assert seconds[-1] < 2, (unit, seconds)
        assert seconds[1] < 64 * seconds[0] + 0.05, (unit, seconds)
