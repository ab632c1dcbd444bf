"""One request as a build for each architecture."""

from __future__ import annotations

from controller import split_request
from controller.contract import request

DOCUMENT = request.normalise(
    {
        "owner": "a",
        "repo_url": "https://git.example.com/a.git",
        "registry_url": "registry.example.com/a",
        "platforms": ["linux/amd64", "linux/arm64"],
        "webhook_url": "https://ci.example.com/hook",
        "webhook_secret": "secret/nomad-build-service/webhook/a",
        "webhook_headers": {"X-Team": "web"},
        "idempotency_key": "k",
    }
)


def test_only_the_first_reports_to_the_webhook() -> None:
    part = split_request.part(DOCUMENT, "0123456789", ["linux/arm64"])
    assert (part["webhook_url"], part["webhook_secret"], part["webhook_headers"]) == (
        None,
        None,
        {},
    )
    assert part["platforms"] == DOCUMENT["platforms"]
    found = request.read(request.encode(part), {})
    assert found["image_index"] == {"id": "0123456789", "platforms": ["linux/arm64"]}
    others = [{"job_id": "default.image-build.1-a", "platforms": ["linux/arm64"], "status": "X"}]
    first = split_request.first(DOCUMENT, "0123456789", ["linux/amd64"], others)
    assert first["webhook_url"] == DOCUMENT["webhook_url"]
    assert request.read(request.encode(first), {})["image_index"]["others"] == [
        {"job_id": "default.image-build.1-a", "platforms": ["linux/arm64"]}
    ]


def test_a_repeat_has_the_same_names_and_others_have_others() -> None:
    assert split_request.index_id("t") == split_request.index_id("t")
    assert split_request.index_id("t") != split_request.index_id("u")
    assert split_request.index_id(None) != split_request.index_id(None)
    amd, arm = (split_request.part_token("t", [one]) for one in DOCUMENT["platforms"])
    assert len({"t", amd, arm}) == 3
    assert split_request.part_token(None, ["linux/amd64"]) is None
