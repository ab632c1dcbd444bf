"""Which build class a request goes to."""

from __future__ import annotations

from typing import Any

import pytest

from controller.errors import InvalidFieldsError
from controller.settings import BuildClass
from controller.submission.build_class import by_architecture, choose

PARENTS = {
    "image-build": BuildClass("default", cpu=1000, memory=2048, disk=4096),
    "image-build-big": BuildClass("big", cpu=8000, memory=16384, disk=50000),
    "image-build-mid": BuildClass("mid", cpu=2000, memory=4096, memory_max=8192, disk=9000),
    "image-build-arm": BuildClass("arm", cpu=1000, memory=2048, disk=4096, arch="arm64"),
}


def chosen(**fields: Any) -> str:
    return choose(PARENTS, {"resource_limits": {}, "platforms": [], "class": None} | fields)


@pytest.mark.parametrize(
    ("fields", "job"),
    [
        ({}, "image-build"),
        ({"resource_limits": {"memory": 100}}, "image-build"),
        ({"resource_limits": {"memory": 3000}}, "image-build-mid"),
        ({"resource_limits": {"memory": 8192}}, "image-build-mid"),
        ({"resource_limits": {"cpu": 4000}}, "image-build-big"),
        ({"resource_limits": {"cpu": 100, "test": {"disk": 20000}}}, "image-build-big"),
        # Phases test and publish have half of the class's cpu and memory, or all of memory_max.
        ({"resource_limits": {"build": {"memory": 2048}}}, "image-build"),
        ({"resource_limits": {"test": {"memory": 1024, "cpu": 500}}}, "image-build"),
        ({"resource_limits": {"test": {"memory": 1025}}}, "image-build-mid"),
        ({"resource_limits": {"test": {"memory": 8192}}}, "image-build-mid"),
        ({"resource_limits": {"test": {"cpu": 1001}}}, "image-build-big"),
        ({"resource_limits": {"publish": {"memory": 1024}}}, "image-build"),
        ({"resource_limits": {"publish": {"memory": 4096}}}, "image-build-big"),
        ({"resource_limits": {"memory": 2048, "test": {"memory": 512}}}, "image-build"),
        ({"class": "big"}, "image-build-big"),
        ({"platforms": ["linux/arm64"]}, "image-build-arm"),
        ({"platforms": ["linux/s390x", "linux/arm64"]}, "image-build-arm"),
        ({"class": "arm", "platforms": ["linux/amd64"]}, "image-build-arm"),
    ],
)
def test_the_smallest_class_that_satisfies(fields: dict[str, Any], job: str) -> None:
    assert chosen(**fields) == job


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"resource_limits": {"memory": 99999}}, "resource_limits"),
        ({"class": "nope"}, "class"),
        ({"class": "default", "resource_limits": {"memory": 4096}}, "resource_limits"),
        ({"class": "default", "resource_limits": {"test": {"memory": 2048}}}, "resource_limits"),
    ],
)
def test_none_fits_lists_the_classes(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        chosen(**fields)
    assert caught.value.problems[0].field == field
    assert "big: cpu 8000" in caught.value.problems[0].fix


DEFAULT, AMD = PARENTS["image-build"], BuildClass("amd", memory=1024, arch="amd64")
EMULATING = BuildClass("both", memory=512, arch="amd64", emulates=("arm64", "arm"))
AMD_ARM = ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize(
    ("classes", "platforms", "parts"),
    [
        ([AMD], AMD_ARM, [("amd", ["linux/amd64"]), ("arm", ["linux/arm64"])]),
        ([AMD], AMD_ARM[::-1], [("arm", ["linux/arm64"]), ("amd", ["linux/amd64"])]),
        ([AMD], [*AMD_ARM, "linux/s390x"], [("amd", [*AMD_ARM, "linux/s390x"])]),
        ([AMD, EMULATING], AMD_ARM, [("amd", ["linux/amd64"]), ("arm", ["linux/arm64"])]),
        (
            [AMD, EMULATING],
            [*AMD_ARM, "linux/arm/v7", "linux/arm/v6"],
            [
                ("amd", ["linux/amd64"]),
                ("arm", ["linux/arm64"]),
                ("both", ["linux/arm/v7", "linux/arm/v6"]),
            ],
        ),
        ([EMULATING], ["linux/amd64", "linux/arm/v7"], [("both", ["linux/amd64", "linux/arm/v7"])]),
        ([], AMD_ARM, [("arm", AMD_ARM)]),
        ([AMD], [], [("default", [])]),
    ],
)
def test_each_architecture_goes_to_a_class_that_runs_it(
    classes: list[BuildClass], platforms: list[str], parts: list[tuple[str, list[str]]]
) -> None:
    parents = {one.name: one for one in (DEFAULT, PARENTS["image-build-arm"], *classes)}
    document = {"resource_limits": {}, "platforms": platforms, "class": None}
    assert by_architecture(parents, document) == parts
    named = by_architecture(parents, document | {"class": "arm"})
    assert named == [("arm", platforms)]


def test_a_class_that_is_too_small_runs_nothing() -> None:
    parents = {one.name: one for one in (DEFAULT, PARENTS["image-build-arm"], AMD)}
    document = {"resource_limits": {"memory": 2000}, "platforms": AMD_ARM, "class": None}
    assert by_architecture(parents, document) == [("arm", AMD_ARM)]


def test_what_no_class_has_is_named_with_its_phase() -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        chosen(resource_limits={"cpu": 100, "test": {"memory": 9000}})
    problem = caught.value.problems[0]
    assert problem.problem == "no build class has cpu 100, memory 9000 for phase test"
    assert "half" in problem.fix


def test_of_a_small_class_publishing_has_what_a_push_needs() -> None:
    parents = {"image-build": BuildClass("default", memory=300)}
    document = {"platforms": [], "class": None}
    fits = document | {"resource_limits": {"publish": {"memory": 256}}}
    assert choose(parents, fits) == "image-build"
    with pytest.raises(InvalidFieldsError):
        choose(parents, document | {"resource_limits": {"test": {"memory": 256}}})
