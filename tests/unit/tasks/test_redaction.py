"""Known secrets leave no trace in any encoding that tools print."""

import base64
import json
import urllib.parse

from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.redaction import MASK, Redactor

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@given(SECRETS, st.text(max_size=20), st.text(max_size=20))
def test_redaction_every_encoding(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    for encoded in (
        secret,
        json.dumps(secret)[1:-1],
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    ):
        redacted = redactor.redact(f"{before} {encoded} {after}")
        assert MASK in redacted
        assert encoded not in redacted or encoded in f"{before} {after}" or encoded in MASK


def test_redaction_lines_of_a_key() -> None:
    redactor = Redactor()
    redactor.add("-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\nBBBBBBBBBBBB\n-----END KEY-----\n")
    assert redactor.redact("x BBBBBBBBBBBB y") == f"x {MASK} y"


def test_redaction_leaves_other_text() -> None:
    redactor = Redactor()
    redactor.add("", "abc")
    assert redactor.redact("abc def") == "abc def"
