"""Manifests that carry something other than an image, and how they are attached to one.

An artifact with a `subject` is a referrer of it (OCI 1.1). A registry that knows no referrers gets
the list as an index under the tag `sha256-<digest>`, as the specification has it:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.tasks.registries.registry_api import INDEX, MANIFEST, Manifest, RegistryApi

_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def descriptor(manifest: Manifest) -> dict[str, Any]:
    """How others name a manifest."""
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.content),
    }


def index(images: Mapping[str, Manifest]) -> Manifest:
    """One manifest for images of several platforms, in the words of their own format."""
    docker = any("docker" in image.media_type for image in images.values())
    listed = []
    for platform, image in images.items():
        names = ("os", "architecture", "variant")
        told = dict(zip(names, platform.split("/"), strict=False))
        listed.append({**descriptor(image), "platform": told})
    kind = _DOCKER_LIST if docker else INDEX
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": listed}
    return Manifest(json.dumps(document, separators=(",", ":")).encode(), kind)


def platforms(image: Manifest) -> dict[str, dict[str, Any]]:
    """The descriptors of an index's images by platform; of what is no index, its own under ``."""
    listed = json.loads(image.content).get("manifests")
    if listed is None:
        return {"": descriptor(image)}
    found = {}
    for one in listed:
        told = one["platform"]
        names = [told[part] for part in ("os", "architecture", "variant") if told.get(part)]
        found["/".join(names)] = {key: one[key] for key in ("mediaType", "digest", "size")}
    return found


def artifact(
    api: RegistryApi,
    kind: str,
    annotations: Mapping[str, str],
    *,
    content: bytes = _EMPTY,
    media_type: str = _EMPTY_TYPE,
    layer_annotations: Mapping[str, str] | None = None,
    subject: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of an artifact whose blobs are stored; itself it is not put anywhere yet.

    `subject` is a descriptor.
    """
    layer: dict[str, Any] = {
        "mediaType": media_type,
        "digest": api.put_blob(content),
        "size": len(content),
    }
    if layer_annotations:
        layer["annotations"] = dict(layer_annotations)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": {
            "mediaType": _EMPTY_TYPE,
            "digest": api.put_blob(_EMPTY),
            "size": len(_EMPTY),
        },
        "layers": [layer],
    }
    if subject:
        document["subject"] = dict(subject)
    document["annotations"] = dict(annotations)
    return Manifest(json.dumps(document, separators=(",", ":")).encode(), MANIFEST)


def attach(api: RegistryApi, subject: str, attached: Manifest) -> None:
    """Put an artifact beside its subject, a digest; into the list where the registry keeps none."""
    headers = api.put_manifest(attached.digest, attached)
    if any(name.lower() == "oci-subject" for name in headers):
        return
    if api.referrers(subject) is not None:
        return
    tag = subject.replace(":", "-")
    listed = [one for one in fallback_list(api, subject) if one.get("digest") != attached.digest]
    document = json.loads(attached.content)
    listed.append(
        {
            **descriptor(attached),
            "artifactType": document["artifactType"],
            "annotations": document["annotations"],
        }
    )
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
    api.put_manifest(tag, Manifest(json.dumps(index, separators=(",", ":")).encode(), INDEX))


def fallback_list(api: RegistryApi, digest: str) -> list[dict[str, Any]]:
    """The list under the tag; empty where there is none, or something else."""
    found = api.manifest(digest.replace(":", "-"))
    if found is None:
        return []
    try:
        listed = json.loads(found.content).get("manifests")
    except (ValueError, RecursionError, AttributeError):
        return []
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
