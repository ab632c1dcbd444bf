"""The field that only the controller writes: taken from a payload, refused at every door."""

from __future__ import annotations

from typing import Any

import pytest

from controller.contract import request, rerun

REQUEST = {
    "owner": "o",
    "repo_url": "https://git.example.com/x.git",
    "registry_url": "registry.example.com/x",
}
RERUN: dict[str, Any] = {
    "job_id": "default.image-build.1763864400-1a2b3c4d",
    "phase": "test",
    "image": "registry.example.com/nbs/intermediate",
    "tag": "default.image-build.1763864400-1a2b3c4d",
    "digest": f"sha256:{'0' * 64}",
    "commit": "0" * 40,
}


def test_a_payload_carries_it_and_no_request_may() -> None:
    normal = request.normalise(REQUEST) | {rerun.FIELD: RERUN}
    assert request.read(request.encode(normal), {}) == normal
    with pytest.raises(request.RequestError) as refused:
        request.normalise(REQUEST | {rerun.FIELD: RERUN})
    assert [problem.field for problem in refused.value.problems] == ["rerun"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job_id", "not an id"),
        ("job_id", None),
        ("phase", "build"),
        ("image", "oci:/etc"),
        ("image", "registry.example.com/x:tag"),
        ("tag", "--option"),
        ("digest", "latest"),
        ("digest", None),
        ("commit", "main"),
    ],
)
def test_a_malformed_one_is_refused(name: str, value: Any) -> None:
    payload = request.encode(request.normalise(REQUEST) | {rerun.FIELD: RERUN | {name: value}})
    with pytest.raises(request.RequestError) as refused:
        request.read(payload, {})
    assert [problem.field for problem in refused.value.problems] == [f"rerun.{name}"]
