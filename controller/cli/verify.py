"""Whether an image is signed by a key, and what is attested of it: no service and no Vault needed.

Everything that is believed is checked by digest or signature: the manifest against the digest, the
payload's digest against the manifest, the payload against the key. What a registry adds is ignored.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.cli import exit_codes, output
from controller.cli.client import CommandError
from controller.tasks.errors import PhaseFailed
from controller.tasks.registries.registry_api import RegistryApi
from controller.tasks.supply_chain.signing import SIGNATURE, pre_authentication

_REFERENCE = re.compile(
    r"(?P<repository>[^@]+?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)


def verify(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check that an image is signed by a key; asks the registry only."""
    found = verified(given.image, given.key, insecure=given.insecure, environ=environ)
    print(json.dumps(found) if given.json else output.verified(found))
    return exit_codes.OK


def verified(
    image: str, key_file: str, *, insecure: bool, environ: Mapping[str, str]
) -> dict[str, Any]:
    """What was verified of an image. Raises CommandError where it is not signed by the key."""
    found = _REFERENCE.match(image)
    if not found or "/" not in found["repository"]:
        raise CommandError(f"{image} is not HOST/REPOSITORY:TAG", exit_codes.INVALID)
    repository = found["repository"]
    key = _key(key_file)
    api = RegistryApi(repository, _credential(repository, environ), insecure=insecure)
    try:
        reference = found["digest"] or found["tag"] or "latest"
        manifest = api.manifest(reference)
        if manifest is None or (found["digest"] and manifest.digest != found["digest"]):
            raise CommandError(f"{repository} has no {reference}", exit_codes.UNKNOWN)
        digest = manifest.digest
        signed = [one for one in _signatures(api, digest) if _signs(key, one, digest)]
        if not signed:
            raise CommandError(
                f"{repository}@{digest} has no signature by this key", exit_codes.BUILD_FAILED
            )
        statements = list(_attested(api, digest, key))
    except PhaseFailed as error:
        raise CommandError(error.message, exit_codes.UNAVAILABLE) from error
    return {
        "image": f"{repository}@{digest}",
        "signed_as": sorted({_identity(one[0]) for one in signed}),
        "attestations": statements,
    }


def _key(file: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} is no public key in PEM: {error}", exit_codes.INVALID) from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CommandError(f"{file} is not a key of type ecdsa-p256", exit_codes.INVALID)
    return key


def _signatures(api: RegistryApi, digest: str) -> Iterator[tuple[bytes, bytes]]:
    for layer in _layers(api, digest, "sig"):
        yield api.blob(layer["digest"]), _decoded((layer.get("annotations") or {}).get(SIGNATURE))


def _signs(key: ec.EllipticCurvePublicKey, found: tuple[bytes, bytes], digest: str) -> bool:
    """The signature is by the key, and what it signs names this image."""
    if not _holds(key, *found):
        return False
    try:
        named = json.loads(found[0])["critical"]["image"]["docker-manifest-digest"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(named == digest)


def _identity(payload: bytes) -> str:
    return str(json.loads(payload)["critical"]["identity"]["docker-reference"])


def _attested(
    api: RegistryApi, digest: str, key: ec.EllipticCurvePublicKey
) -> Iterator[dict[str, Any]]:
    """Predicates of the envelopes that the key signed and that name this image."""
    for layer in _layers(api, digest, "att"):
        try:
            envelope = json.loads(api.blob(layer["digest"]))
            payload = _decoded(envelope["payload"])
            signed = pre_authentication(str(envelope["payloadType"]), payload)
            if not any(_holds(key, signed, _decoded(one["sig"])) for one in envelope["signatures"]):
                continue
            statement = json.loads(payload)
            named = [one["digest"].get("sha256") for one in statement["subject"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if digest.partition(":")[2] in named:
            yield {"kind": statement["predicateType"], "predicate": statement["predicate"]}


def _layers(api: RegistryApi, digest: str, suffix: str) -> list[dict[str, Any]]:
    manifest = api.manifest(f"{digest.replace(':', '-')}.{suffix}")
    if manifest is None:
        return []
    try:
        layers = json.loads(manifest.content)["layers"]
        return [layer for layer in layers if isinstance(layer["digest"], str)]
    except (ValueError, KeyError, TypeError):
        return []


def _holds(key: ec.EllipticCurvePublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except ValueError:
        return b""


def _credential(repository: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The login that docker, buildah or skopeo stored for the repository; empty without one."""
    home = Path(environ.get("HOME", os.sep))
    files = (
        environ.get("REGISTRY_AUTH_FILE"),
        f"{environ.get('XDG_RUNTIME_DIR', '')}/containers/auth.json",
        f"{environ.get('DOCKER_CONFIG') or home / '.docker'}/config.json",
    )
    names = [repository]
    while "/" in names[-1]:
        names.append(names[-1].rpartition("/")[0])
    for file in filter(None, files):
        try:
            logins = json.loads(Path(file).read_text())["auths"]
            for name in names:
                if pair := (logins.get(name) or {}).get("auth"):
                    username, _, password = base64.b64decode(pair).decode().partition(":")
                    return {"username": username, "password": password}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}
