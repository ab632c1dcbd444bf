"""One request as a build for each architecture."""

from __future__ import annotations

from controller.contract import request
from controller.submission import split_request

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
    part = split_request.part(DOCUMENT, "0123456789abcdef", ["linux/arm64"])
    assert (part["webhook_url"], part["webhook_secret"], part["webhook_headers"]) == (
        None,
        None,
        {},
    )
    assert part["platforms"] == DOCUMENT["platforms"]
    found = request.read(request.encode(part), {})
    assert found["image_index"] == {
        "id": "0123456789abcdef",
        "platforms": ["linux/arm64"],
        "part": True,
    }
    others = [{"job_id": "default.image-build.1-a", "platforms": ["linux/arm64"]}]
    first = split_request.first(DOCUMENT, "0123456789abcdef", ["linux/amd64"], others)
    assert first["webhook_url"] == DOCUMENT["webhook_url"]
    assert request.read(request.encode(first), {})["image_index"]["others"] == others


def test_no_index_has_the_id_of_another() -> None:
    assert split_request.new_id() != split_request.new_id()
    amd, arm = (split_request.token("t" * 32, [one]) for one in DOCUMENT["platforms"])
    assert len({"t" * 32, amd, arm, split_request.token("u" * 32, ["linux/arm64"])}) == 4
