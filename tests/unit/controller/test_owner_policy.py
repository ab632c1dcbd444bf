"""What owners may use: each rule, and what nobody can widen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.access.owner_policy import (
    OwnerPolicy,
    allowed_host,
    may_fetch,
    may_use_registry,
    may_use_secret,
    own_vault_paths,
    parse,
    policy_of,
)
from controller.access.owner_rules import OwnerRules
from controller.contract import git_names
from controller.contract.patterns import is_plain, matches
from controller.settings import load

OWN = own_vault_paths("secret")
SECRET = "secret/nomad-build-service/git/"
JWT = {"NBS_AUTH_MODE": "jwt", "NBS_AUTH_ISSUER": "https://i", "NBS_AUTH_AUDIENCE": "a"}


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("github.com/acme/*", "github.com/acme/app", True),
        ("github.com/acme/*", "github.com/acme/app/deep", False),
        ("github.com/acme/*", "github.com/acme/", True),
        ("github.com/acme/**", "github.com/acme/app/deep", True),
        ("github.com/acme/*", "github.com/acme-evil/app", False),
        ("github.com/acme/*", "evil.com/github.com/acme/app", False),
        ("git.b.c/x", "gitxbxc/x", False),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("a[bc]?", "a[bc]?", True),
        ("a[bc]?", "ab", False),
        ("app", "app\n", False),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@given(owner=st.text(max_size=12), other=st.text(max_size=12))
def test_an_owner_stands_only_for_itself(owner: str, other: str) -> None:
    for pattern in ("a/{owner}", "a/{owner}/**"):
        for name in (f"a/{other}", f"a/{other}/x"):
            if matches(pattern, name, owner):
                assert is_plain(owner)
                assert name in (f"a/{owner}", f"a/{owner}/x")


@given(pattern=st.text(st.sampled_from("ab*/{}.owner"), max_size=12), name=st.text(max_size=12))
def test_a_pattern_without_stars_matches_its_own_text_only(pattern: str, name: str) -> None:
    plain = pattern.replace("*", "").replace("{owner}", "")
    assert matches(plain, name) is (plain == name)
    assert matches(plain, plain)


@given(st.text(st.sampled_from("a*?[]./{}\\owner@-"), min_size=1, max_size=8))
def test_odd_owners_gain_nothing_in_vault(owner: str) -> None:
    for path in (f"{SECRET}team-b", f"{SECRET}team-b/x", "secret/other", f"{SECRET}../x"):
        assert not may_use_secret(OwnerPolicy(""), owner, path, OWN)


@pytest.mark.parametrize(
    ("owner", "path", "may"),
    [
        ("team-a", f"{SECRET}team-a", True),
        ("team-a", f"{SECRET}team-a/deep/er", True),
        ("team-a", "secret/data/nomad-build-service/git/team-a", True),
        ("team-a", "secret/nomad-build-service/registry/team-a/x", True),
        ("team-a", "secret/nomad-build-service/pull/team-a", True),
        ("team-a", "secret/nomad-build-service/webhook/team-a", True),
        ("team-a", f"{SECRET}team-a-2", False),
        ("team-a", f"{SECRET}team-b", False),
        ("team-a", "secret/nomad-build-service/other/team-a", False),
        ("team-a", "kv/nomad-build-service/git/team-a", False),
        ("team-a", "nomad-build-service/git/team-a", False),
        ("team-a", "secret/data/data/nomad-build-service/git/team-a", False),
        ("Team-A", f"{SECRET}team-a", False),
        ("team-a/x", f"{SECRET}team-a/x", False),
        ("*", f"{SECRET}team-a", False),
        ("**", f"{SECRET}team-a", False),
        ("..", f"{SECRET}..", False),
        ("{owner}", f"{SECRET}team-a", False),
        ("", f"{SECRET}", False),
    ],
)
def test_own_secrets(owner: str, path: str, may: bool) -> None:
    assert may_use_secret(OwnerPolicy(""), owner, path, OWN) is may


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/app",
        "https://github.com/acme/app.git",
        "https://GitHub.COM:443/acme/app/",
        "ssh://git@github.com/acme/app.git",
        "ssh://git@github.com:22/acme/app",
        "git@github.com:acme/app.git",
        "git@github.com:/acme/app",
    ],
)
def test_a_repository_is_the_same_however_its_url_is_written(url: str) -> None:
    assert git_names.url(url) == url
    assert git_names.location(url) == "github.com/acme/app"
    assert may_fetch(OwnerPolicy("", repositories=("github.com/{owner}/*",)), "acme", url)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/../evil/app",
        "https://github.com/acme/%2e%2e/evil/app",
        "https://github.com/acme/%2E./evil/app",
        "https://github.com/acme/..%2fevil/app",
        "https://github.com/acme/%252e%252e/evil/app",
        "https://github.com//acme/app",
        "https://github.com/acme//app",
        "https://github.com/evil/x?y=/acme/app",
        "https://github.com/evil/app",
        "https://github.com:8443/acme/app",
        "https://evil.example/github.com/acme/app",
        "ssh://github.com@evil.example/acme/app",
        "git@evil.example:github.com/acme/app",
        "git@github.com:../acme/app",
    ],
)
def test_no_way_of_writing_leads_around_a_policy(url: str) -> None:
    assert not may_fetch(OwnerPolicy("", repositories=("github.com/acme/**",)), "acme", url)


def test_registries() -> None:
    policy = OwnerPolicy("", registries=("registry.example.com/{owner}/**",))
    assert may_use_registry(policy, "team-a", "Registry.Example.com/team-a/app")
    assert not may_use_registry(policy, "team-a", "registry.example.com/team-b/app")
    assert not may_use_registry(policy, "team-a", "registry.example.com:5000/team-a/app")
    assert may_use_registry(OwnerPolicy(""), "team-a", "anywhere.example/app")
    assert not may_use_registry(OwnerPolicy("", registries=()), "team-a", "anywhere.example/app")


def test_the_most_specific_policy_applies() -> None:
    policies = parse('{"*": {}, "team-*": {}, "team-a*": {}, "team-ab": {}, "t**": {}}')

    def of(owner: str) -> str:
        return policy_of(policies, owner).owner

    assert of("team-ab") == "team-ab"
    assert of("team-abc") == "team-a*"
    assert of("team-x") == "team-*"
    assert of("tx") == "t**"
    assert of("x") == "*"


@given(st.text(max_size=20))
def test_no_owner_escapes_the_policy_for_everybody(owner: str) -> None:
    assert policy_of(parse('{"*": {"max_running": 1}}'), owner).max_running == 1


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        ((), "https://anything.example/x", True),
        (("github.com",), "https://github.com/x", True),
        (("github.com",), "git@GitHub.com:x", True),
        (("github.com",), "https://github.com:8443/x", False),
        (("github.com:*",), "https://github.com:8443/x", True),
        (("*.example.com",), "https://a.example.com/x", True),
        (("*.example.com",), "https://example.com/x", False),
        (("*.example.com",), "https://evil.com/a.example.com/x", False),
    ],
)
def test_hosts(hosts: tuple[str, ...], url: str, allowed: bool) -> None:
    assert allowed_host(hosts, url) is allowed


def rules(policies: str, **more: str) -> OwnerRules:
    return OwnerRules(load(JWT | {"NBS_OWNER_POLICIES": policies} | more, {}))


def test_every_problem_is_told_at_once_with_the_next_step() -> None:
    one = rules('{"*": {"repositories": ["git.example/{owner}/*"], "registries": []}}')
    problems = one.problems(
        {
            "owner": "team-a",
            "repo_url": "https://git.example/team-b/app",
            "registry_url": "r.example/x",
            "image": "r.example/x/app",
            "git_credentials_path": f"{SECRET}team-b",
            "registry_credentials_path": "secret/nomad-build-service/registry/team-a",
        }
    )
    assert [problem.field for problem in problems] == [
        "repo_url",
        "registry_url",
        "git_credentials_path",
    ]
    assert "git.example/{owner}/*" in problems[0].fix
    assert "operator" in problems[1].fix
    assert all("owner_policies" in problem.fix for problem in problems)


def test_both_ends_of_a_promotion_count() -> None:
    one = rules('{"*": {"registries": ["r.example/{owner}/*"]}}')
    document = {
        "owner": "team-a",
        "image": "r.example/team-b/app",
        "destination": "r.example/team-c/app",
        "destination_credentials_path": f"{SECRET}team-c",
    }
    fields = [problem.field for problem in one.problems(document)]
    assert fields == ["image", "destination", "destination_credentials_path"]


def test_where_an_owner_is_only_a_claim_paths_are_open_unless_a_policy_says_otherwise() -> None:
    document = {"owner": "x", "git_credentials_path": f"{SECRET}team-b"}
    assert OwnerRules(load({}, {})).problems(document) == []
    closed = load({"NBS_OWNER_POLICIES": '{"*": {"vault_paths": []}}'}, {})
    assert OwnerRules(closed).problems(document)
    assert rules("{}").problems(document)


def test_servers_and_transports() -> None:
    one = rules("{}", NBS_GIT_HOSTS="git.example")
    problems = one.problems({"owner": "x", "repo_url": "http://other.example/app"})
    assert [re.findall("http|other.example", problem.problem) for problem in problems] == [
        ["http"],
        ["other.example"],
    ]
