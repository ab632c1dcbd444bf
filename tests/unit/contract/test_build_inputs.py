"""Build secrets and patches: what their fields take, and what they never repeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.access.owner_rules import OwnerRules
from controller.contract import build_secrets, patch
from controller.contract.field_error import FieldError
from controller.contract.request import RequestError, normalise
from controller.settings import load

GOOD = "secret/nomad-build-service/build/team/npm#token"
BASE = {
    "owner": "team",
    "repo_url": "https://git.example.com/team/app.git",
    "registry_url": "registry.example.com/team/app",
}
DIFF = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n"


def test_where_a_secret_may_be() -> None:
    assert build_secrets.path_and_field(GOOD) == GOOD
    document = normalise(BASE | {"build_secrets": {"npm": GOOD}, "build_ssh": {"x": GOOD[:-6]}})
    assert dict(build_secrets.vault_paths(document)) == {
        "build_secrets.npm": GOOD[:-6],
        "build_ssh.x": GOOD[:-6],
    }


@given(st.text() | st.from_regex(r"secret/nomad-build-service/[a-z./]{0,30}#?[a-z#]{0,8}"))
def test_no_other_place_is_taken(text: str) -> None:
    try:
        taken = build_secrets.path_and_field(text)
    except FieldError:
        return
    path, _, field = taken.partition("#")
    assert path.startswith("secret/nomad-build-service/build/") or "/build/" in path
    assert ".." not in path.split("/")
    assert field
    assert "#" not in field


@pytest.mark.parametrize("field", ["build_secrets", "build_ssh"])
def test_a_secret_written_by_mistake_is_not_repeated(field: str) -> None:
    with pytest.raises(RequestError) as told:
        normalise(BASE | {field: {"npm": "npm_hunter2"}})
    assert "hunter2" not in str(told.value)


def test_a_patch_is_one_and_ends_with_a_line() -> None:
    assert patch.unified_diff(DIFF) == DIFF
    assert patch.unified_diff(DIFF[:-1]) == DIFF
    assert patch.digest(DIFF).startswith("sha256:")
    assert patch.default_tag("a" * 40, None) == "a" * 12
    assert patch.default_tag("a" * 40, DIFF) == f"{'a' * 12}-patch-{patch.digest(DIFF)[7:15]}"


@pytest.mark.parametrize("text", ["", "hello", "+++ b/x\n", "--- a\n", "diff --git a/x\0 b/x"])
def test_what_is_no_patch_is_told_and_not_repeated(text: str) -> None:
    with pytest.raises(RequestError) as told:
        normalise(BASE | {"patch": text})
    assert told.value.problems[0].field == "patch"


def test_protected_tags_are_closed_to_patches_only() -> None:
    rules = OwnerRules(
        load({"NBS_OWNER_POLICIES": '{"*": {"protected_tags": ["latest", "v*"]}}'}, {})
    )
    tags = {"image_tags": ["latest", "v1", "try"]}
    assert rules.problems(normalise(BASE | tags)) == []
    told = rules.problems(normalise(BASE | tags | {"patch": DIFF}))
    assert [one.field for one in told] == ["image_tags[0]", "image_tags[1]"]
