"""Names of platforms in their normal form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import fields, image_index
from controller.contract.field_error import FieldError
from controller.contract.platform_names import parse


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("x86-64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("LINUX/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("i386", "linux/386"),
        ("aarch64", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/riscv64", "linux/riscv64"),
        ("linux/never-heard-of", "linux/never-heard-of"),
        ("macos/arm64", "darwin/arm64"),
    ],
)
def test_platform_names_have_one_form(name: str, normal: str) -> None:
    assert parse(name) == normal
    assert parse(normal) == normal


def test_platform_names_a_system_alone_is_of_the_nodes_architecture() -> None:
    assert parse("linux", "linux/arm64") == "linux/arm64"
    with pytest.raises(FieldError, match="no architecture"):
        parse("linux")


@pytest.mark.parametrize("name", ["", "/", "vax", "linux/", "a/b/c/d", "linux/amd 64", "linux/*"])
def test_platform_names_refuse_what_names_none(name: str) -> None:
    with pytest.raises(FieldError):
        parse(name, "linux/amd64")


def test_platform_names_of_a_request_are_of_linux() -> None:
    assert fields.platform("x86_64") == "linux/amd64"
    with pytest.raises(FieldError, match="Linux"):
        fields.platform("windows/amd64")


def test_platform_names_of_an_index_are_those_of_the_request() -> None:
    given = {"id": "0123456789abcdef", "platforms": ["aarch64"]}
    document = {"platforms": ["amd64", "linux/arm64/v8"], image_index.FIELD: given}
    taken, problems = image_index.take(document)
    assert problems == []
    assert taken == given | {"platforms": ["linux/arm64"]}


PARTS = st.sampled_from(["linux", "amd64", "x86_64", "arm", "arm64", "armhf", "v7", "8", "", "é"])


@given(st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=5).map("/".join)))
def test_platform_names_are_refused_or_have_an_architecture(name: str) -> None:
    try:
        normal = parse(name, "linux/amd64")
    except FieldError:
        return
    assert len(normal.split("/")) in (2, 3)
    assert parse(normal) == normal
