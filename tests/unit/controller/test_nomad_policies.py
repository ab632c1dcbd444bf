"""Which scopes and owner the names of a Nomad token's policies give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.access.nomad_policies import PolicyGrant, parse


@pytest.mark.parametrize(
    ("pattern", "owner", "name", "matched"),
    [
        ("team-*", "*", "team-web", "web"),
        ("team-*", "*", "team-", None),
        ("team-*", "*", "xteam-web", None),
        ("*-builds", "group-*", "web-builds", "group-web"),
        ("a*a", "*", "a", None),
        ("a*a", "*", "aa", None),
        ("a*a", "*", "aba", "b"),
        ("builders", "", "builders", ""),
        ("builders", "all", "builders", "all"),
        ("builders", "all", "builders2", None),
        ("*", "*", "anything", "anything"),
    ],
)
def test_names(pattern: str, owner: str, name: str, matched: str | None) -> None:
    assert PolicyGrant(pattern, frozenset({"build:read"}), owner).match(name) == matched


@given(st.text(), st.text())
def test_what_is_matched_is_in_the_name(prefix: str, rest: str) -> None:
    pattern = f"{prefix.replace('*', '')}*"
    found = PolicyGrant(pattern, frozenset({"build:read"}), "*").match(pattern[:-1] + rest)
    assert found == (rest or None)


def test_scopes_as_a_text_or_as_a_list() -> None:
    for scopes in ("build:read build:write", ["build:read", "build:write"]):
        (grant,) = parse(json.dumps({"p": {"scopes": scopes}}))
        assert grant.scopes == {"build:read", "build:write"}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"p": []}',
        '{"p": {}}',
        '{"p": {"scopes": ""}}',
        '{"p": {"scopes": "build:everything"}}',
        '{"a*b*": {"scopes": "build:read"}}',
        '{"p": {"scopes": "build:read", "onwer": "x"}}',
        "not json",
    ],
)
def test_what_cannot_be_used_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
