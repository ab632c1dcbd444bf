"""What is published beside an image: its provenance, its bill of materials, its signature.

Attached by digest and before the tags, so that whoever sees a tag finds all of it. Without a
signing key they are a service: a registry that refuses them gets a word in the log. With one they
are what others will ask for, and a build that cannot have them fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from controller.contract.log_line import utc
from controller.tasks import bill_of_materials, provenance, signing
from controller.tasks.artifact import artifact, attach
from controller.tasks.destinations import Destination
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.registry_api import Manifest, RegistryApi
from controller.tasks.tries import Tries
from controller.tasks.vault import VaultSession

_STATEMENT = provenance.PAYLOAD_TYPE
_PREDICATE_NOTE = "in-toto.io/predicate-type"


class Attestations:
    """Of one build. `build` is the result of its phase `build`."""

    def __init__(self, phase: Phase, build: dict[str, Any], vault: VaultSession) -> None:
        self._phase = phase
        self._build = build
        self._vault = vault
        self._key = phase.environment.signing_key
        self._tries = Tries(phase.log, phase.deadline)
        self._sbom = bill_of_materials.read(phase) if phase.environment.sbom else None

    def attach(self, places: Sequence[Destination], image: Manifest) -> list[dict[str, str]]:
        """Attach all that is wanted in every repository; what it was, for the outcome."""
        subjects = [place.repository for place in places]
        statements = list(self._statements(subjects, image.digest))
        envelopes = [
            (kind, signing.envelope(content, self._sign) if self._key else content)
            for kind, content in statements
        ]
        found: list[dict[str, str]] = []
        for place in places:
            try:
                found += self._attach_in(place.api, image, envelopes)
            except PhaseFailed as error:
                if self._key:
                    raise
                self._phase.log.say(f"{place.repository}: nothing is attached: {error.message}")
        return found

    def _statements(self, subjects: list[str], digest: str) -> Iterator[tuple[str, bytes]]:
        environment = self._phase.environment
        if environment.provenance:
            told = provenance.predicate(
                self._phase.request,
                self._build,
                job_id=environment.job_id,
                builder=environment.builder_id,
                finished=utc(datetime.now(UTC)),
            )
            yield (
                provenance.PREDICATE,
                provenance.statement(provenance.PREDICATE, subjects, digest, told),
            )

        if self._sbom:
            yield (
                bill_of_materials.PREDICATE,
                provenance.statement(bill_of_materials.PREDICATE, subjects, digest, self._sbom),
            )

    def _attach_in(
        self, api: RegistryApi, image: Manifest, envelopes: list[tuple[str, bytes]]
    ) -> Iterator[dict[str, str]]:
        media_type = signing.ENVELOPE_TYPE if self._key else provenance.PAYLOAD_TYPE
        if self._sbom:
            raw = json.dumps(self._sbom, ensure_ascii=False, separators=(",", ":")).encode()
            media = bill_of_materials.MEDIA_TYPE
            attached = self._tries(
                "attaching the SBOM", partial(self._put, api, image, "SBOM", raw, media, media)
            )
            yield self._said(api, "SBOM", media, attached)
        for kind, content in envelopes:
            if kind == bill_of_materials.PREDICATE and not self._key:
                continue  # unsigned it says nothing that the document does not
            attached = self._tries(
                f"attaching {kind}",
                partial(self._put, api, image, kind, content, media_type, _STATEMENT),
            )
            yield self._said(api, kind, media_type, attached)
        if not self._key:
            return
        if envelopes:
            together = self._tries(
                "attaching attestations",
                lambda: signing.put_attestations(api, image.digest, envelopes),
            )
            yield self._said(api, "cosign attestations", signing.ENVELOPE_TYPE, together)
        signature = self._tries(
            f"signing {api.repository}@{image.digest}",
            lambda: signing.sign_image(api, image.digest, self._sign),
        )
        yield self._said(api, "cosign signature", signing.SIGNATURE_TYPE, signature)

    def _put(
        self,
        api: RegistryApi,
        image: Manifest,
        kind: str,
        content: bytes,
        media_type: str,
        artifact_type: str,
    ) -> Manifest:
        note = {_PREDICATE_NOTE: kind} if artifact_type == _STATEMENT else {}
        attached = artifact(
            api,
            artifact_type,
            note,
            content=content,
            media_type=media_type,
            layer_annotations=note,
            subject=image,
        )
        attach(api, image, attached)
        return attached

    def _said(
        self, api: RegistryApi, kind: str, media_type: str, attached: Manifest
    ) -> dict[str, str]:
        self._phase.log.say(f"attached {kind}: {api.repository}@{attached.digest}")
        return {
            "kind": kind,
            "media_type": media_type,
            "repository": api.repository,
            "digest": attached.digest,
        }

    def _sign(self, content: bytes) -> bytes:
        return self._vault.sign(self._key, content)
