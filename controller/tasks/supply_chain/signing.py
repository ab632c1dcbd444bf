"""Signatures by a key that never leaves Vault (transit, ecdsa-p256), in the form that cosign reads.

- of an image: a payload that names its digest, under the tag `sha256-<digest>.sig`
  (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md);
- of a statement: a DSSE envelope (https://github.com/secure-systems-lab/dsse), under `….att`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from controller.tasks.registries.registry_api import MANIFEST, Manifest, RegistryApi
from controller.tasks.supply_chain.provenance import PAYLOAD_TYPE

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
Sign = Callable[[bytes], bytes]


def payload(repository: str, digest: str) -> bytes:
    """What is signed of an image."""
    document = {
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def envelope(statement: bytes, sign: Sign) -> bytes:
    """A statement with its signature."""
    signature = sign(pre_authentication(PAYLOAD_TYPE, statement))
    document = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(statement).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def pre_authentication(kind: str, content: bytes) -> bytes:
    """The bytes that a DSSE signature is over."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)


def sign_image(api: RegistryApi, digest: str, sign: Sign) -> Manifest:
    """Sign an image in a repository; the manifest under its tag."""
    content = payload(api.repository, digest)
    note = {SIGNATURE: base64.b64encode(sign(content)).decode()}
    return _put(api, digest, "sig", [(SIGNATURE_TYPE, content, note)])


def put_attestations(api: RegistryApi, digest: str, found: list[tuple[str, bytes]]) -> Manifest:
    """Put envelopes, each with its predicate's type, where cosign looks for them."""
    layers = [
        (ENVELOPE_TYPE, content, {SIGNATURE: "", "predicateType": kind}) for kind, content in found
    ]
    return _put(api, digest, "att", layers)


def _put(
    api: RegistryApi, digest: str, suffix: str, given: list[tuple[str, bytes, dict[str, str]]]
) -> Manifest:
    layers: list[dict[str, Any]] = [
        {
            "mediaType": kind,
            "digest": api.put_blob(content),
            "size": len(content),
            "annotations": annotations,
        }
        for kind, content, annotations in given
    ]
    config = json.dumps(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    ).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": _CONFIG_TYPE,
            "digest": api.put_blob(config),
            "size": len(config),
        },
        "layers": layers,
    }
    manifest = Manifest(json.dumps(document, separators=(",", ":")).encode(), MANIFEST)
    api.put_manifest(f"{digest.replace(':', '-')}.{suffix}", manifest)
    return manifest
