"""Where an image comes from: an in-toto statement with SLSA v1 provenance.

https://slsa.dev/spec/v1.0/provenance. It goes wherever the image goes, so it names no path in Vault
and nothing that a request holds for others than the build.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from controller import __version__
from controller.tasks.environment import BUILDER_ID

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = f"{BUILDER_ID}/image-build/v1"
_PARAMETERS = (
    "owner",
    "repo_url",
    "git_ref",
    "context_path",
    "dockerfile_path",
    "target",
    "build_args",
    "labels",
    "platforms",
    "submodules",
    "build_network",
    "clear_cache",
    "image",
    "image_tags",
)


def statement(predicate: str, subjects: Sequence[str], digest: str, content: Any) -> bytes:
    """A statement about an image in these repositories."""
    algorithm, _, value = digest.partition(":")
    document = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {algorithm: value}} for name in subjects],
        "predicateType": predicate,
        "predicate": content,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def predicate(
    request: Mapping[str, Any],
    build: Mapping[str, Any],
    *,
    job_id: str,
    images: Mapping[str, Mapping[str, Any]],
    builder: str,
    finished: str,
) -> dict[str, Any]:
    """The provenance of a build, from its request and the result of its phase `build`.

    `images`: descriptors by platform, where it is of an index of what several builds have made;
    each of them has a provenance of its own, with its base images.
    """
    parameters = {name: request[name] for name in _PARAMETERS if request.get(name)}
    if images:
        parameters["platforms"] = list(images)
    if secrets := sorted(
        [*(request.get("build_secrets") or ()), *(request.get("build_ssh") or ())]
    ):
        parameters["build_secrets"] = secrets  # which ones, not where or what they are
    if commands := (request.get("test") or {}).get("commands"):
        parameters["test_commands"] = commands
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": parameters,
            "resolvedDependencies": _dependencies(request, build, images),
        },
        "runDetails": {
            "builder": {"id": builder, "version": {"nomad-build-service": __version__}},
            "metadata": {
                "invocationId": job_id,
                "startedOn": build.get("started_at"),
                "finishedOn": finished,
            },
        },
    }


def _dependencies(
    request: Mapping[str, Any],
    build: Mapping[str, Any],
    images: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": "source",
            "uri": f"git+{request['repo_url']}@{request['git_ref']}",
            "digest": {"gitCommit": build["commit"]},
        }
    ]
    if patch := build.get("patch"):
        found.append({"name": "patch", "digest": {"sha256": str(patch["digest"])[7:]}})
    if images:
        return found + [
            {"name": f"image for {platform}", "digest": {"sha256": str(one["digest"])[7:]}}
            for platform, one in images.items()
        ]
    found += [
        {
            "name": "base image",
            "uri": f"docker://{image['name']}",
            "digest": {"sha256": str(image["digest"])[7:]},
        }
        for image in build.get("base_images") or ()
    ]
    return found
