"""Which build class a request goes to."""

from __future__ import annotations

from typing import Any

import pytest

from controller.build_class import choose
from controller.errors import InvalidFieldsError
from controller.settings import BuildClass

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
    ],
)
def test_none_fits_lists_the_classes(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        chosen(**fields)
    assert caught.value.problems[0].field == field
    assert "big: cpu 8000" in caught.value.problems[0].fix
