"""The field of a request that is built in several allocations."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import image_index, request

BOTH = ["linux/amd64", "linux/arm64"]
INDEX = {"id": "0123456789abcdef", "platforms": ["linux/arm64"]}
OTHER = {"job_id": "default.image-build.1-a", "platforms": ["linux/amd64"]}


def read(index: Any) -> dict[str, Any]:
    document = {
        "repo_url": "https://git.example.com/a.git",
        "registry_url": "registry.example.com/a",
        "platforms": BOTH,
        image_index.FIELD: index,
    }
    return request.read(json.dumps(document).encode(), {})


def test_a_build_has_its_own_platforms_and_knows_them_all() -> None:
    found = read(INDEX)
    assert found["platforms"] == BOTH
    own = image_index.own(found)
    assert own["platforms"] == ["linux/arm64"]
    assert own[image_index.FIELD]["of"] == BOTH
    assert image_index.others(found) == ()
    assert image_index.own({"platforms": BOTH}) == {"platforms": BOTH}


def test_it_travels_in_the_payload() -> None:
    found = read(INDEX | {"others": [OTHER]})
    assert request.read(request.encode(found), {}) == found
    assert image_index.others(found) == [OTHER]


@pytest.mark.parametrize(
    ("index", "field"),
    [
        ([], "image_index"),
        ({**INDEX, "id": "short"}, "image_index.id"),
        ({**INDEX, "id": "../../../../x"}, "image_index.id"),
        ({**INDEX, "id": None}, "image_index.id"),
        ({**INDEX, "platforms": []}, "image_index.platforms"),
        ({**INDEX, "platforms": ["linux/arm64", "linux/arm64"]}, "image_index.platforms"),
        ({**INDEX, "part": "yes"}, "image_index.part"),
        ({**INDEX, "others": [OTHER | {"job_id": ["x/dispatch-y"]}]}, "image_index.others"),
        ({**INDEX, "platforms": ["linux/s390x"]}, "image_index.platforms"),
        ({**INDEX, "platforms": [[]]}, "image_index.platforms"),
        ({**INDEX, "others": {}}, "image_index.others"),
        ({**INDEX, "others": [OTHER, OTHER]}, "image_index.others"),
        ({**INDEX, "others": [OTHER | {"job_id": "x"}]}, "image_index.others"),
        ({**INDEX, "others": [OTHER | {"platforms": ["linux/s390x"]}]}, "image_index.others"),
    ],
)
def test_what_is_wrong_is_named(index: Any, field: str) -> None:
    with pytest.raises(request.RequestError) as caught:
        read(index)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_no_caller_of_the_api_may_give_it() -> None:
    with pytest.raises(request.RequestError) as caught:
        request.normalise({"owner": "a", image_index.FIELD: INDEX})
    assert "image_index" in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=9), parts),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"id": _json, "platforms": _json, "others": _json}) | _json)
def test_anything_is_either_well_or_refused(index: Any) -> None:
    document = {"platforms": BOTH, image_index.FIELD: index}
    taken, problems = image_index.take(document)
    assert image_index.FIELD not in document
    assert taken is None or (not problems and set(taken["platforms"]) <= set(BOTH))
    assert index is None or taken is not None or problems


def test_a_note_is_of_one_index_commit_and_platform() -> None:
    name = image_index.tag(INDEX, "c" * 40, "linux/arm/v7")
    assert re.fullmatch(r"nbs-[0-9a-f]{32}-linux-arm-v7", name)
    assert INDEX["id"] not in name
    others = [
        image_index.tag(INDEX | {"id": "0123456789abcdeg"}, "c" * 40, "linux/arm/v7"),
        image_index.tag(INDEX, "d" * 40, "linux/arm/v7"),
        image_index.tag(INDEX, "c" * 40, "linux/arm64"),
    ]
    assert len({name, *others}) == 4
    seals = [
        image_index.seal(INDEX | {"id": "0123456789abcdeg"}, "c" * 40, "linux/arm/v7", "sha256:1"),
        *(
            image_index.seal(INDEX, commit * 40, platform, f"sha256:{digest}")
            for commit in "cd"
            for platform in ("linux/arm64", "linux/arm/v7")
            for digest in "12"
        ),
    ]
    assert len(set(seals)) == len(seals)
