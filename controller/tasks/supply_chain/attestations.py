"""What is published beside an image: its provenance, its bill of materials, its signature.

Attached by digest and before the tags, so that whoever sees a tag finds all of it. Without a
signing key they are a service: a registry that refuses them gets a word in the log. With one they
are what others will ask for, and a build that cannot have them fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from controller.contract.log_line import utc
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.registries.artifact import artifact, attach, descriptor, platforms
from controller.tasks.registries.destinations import Destination
from controller.tasks.registries.registry_api import Manifest, RegistryApi
from controller.tasks.registries.tries import Tries
from controller.tasks.supply_chain import bill_of_materials, provenance, signing
from controller.tasks.vault import VaultSession

_STATEMENT = provenance.PAYLOAD_TYPE
_PREDICATE_NOTE = "in-toto.io/predicate-type"
# A platform, its image's descriptor, and that image's bill of materials.
_Document = tuple[str, dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Statement:
    """What is said of an image: `kind` in words, `subject` its descriptor."""

    kind: str
    subject: Mapping[str, Any]
    content: bytes


class Attestations:
    """Of one build. `build` is the result of its phase `build`."""

    def __init__(self, phase: Phase, build: dict[str, Any], vault: VaultSession) -> None:
        self._phase = phase
        self._build = build
        self._vault = vault
        self._key = phase.environment.signing_key
        self._tries = Tries(phase.log, phase.deadline)
        self._sboms = bill_of_materials.read(phase, build) if phase.environment.sbom else {}

    def attach(
        self, places: Sequence[Destination], image: Manifest, *, joined: bool = False
    ) -> list[dict[str, str]]:
        """Attach all that is wanted in every repository; what it was, for the outcome.

        `joined`: it is an index of what several builds have made. It has no bill of materials of
        its own, and its provenance names those images.
        """
        documents = [] if joined else list(self._documents(image))
        names = [place.repository for place in places]
        statements = list(self._statements(names, image, documents, joined=joined))
        if self._key:
            statements = [
                replace(one, content=signing.envelope(one.content, self._sign))
                for one in statements
            ]
        found: list[dict[str, str]] = []
        for place in places:
            try:
                found += self._attach_in(place.api, image, documents, statements)
            except PhaseFailed as error:
                if self._key:
                    raise
                self._phase.log.say(f"{place.repository}: nothing is attached: {error.message}")
        return found

    def _statements(
        self,
        names: list[str],
        image: Manifest,
        documents: Sequence[_Document],
        *,
        joined: bool,
    ) -> Iterator[_Statement]:
        environment = self._phase.environment
        if environment.provenance:
            told = provenance.predicate(
                self._phase.request,
                self._build,
                job_id=environment.job_id,
                images=platforms(image) if joined else {},
                builder=environment.builder_id,
                finished=utc(datetime.now(UTC)),
            )
            yield self._statement(provenance.PREDICATE, names, descriptor(image), told)
        if self._key:  # unsigned it says nothing that the document does not
            for _, subject, document in documents:
                yield self._statement(bill_of_materials.PREDICATE, names, subject, document)

    def _statement(
        self, kind: str, names: list[str], subject: dict[str, Any], predicate: dict[str, Any]
    ) -> _Statement:
        content = provenance.statement(kind, names, subject["digest"], predicate)
        return _Statement(kind, subject, content)

    def _documents(self, image: Manifest) -> Iterator[_Document]:
        """Each platform's bill of materials, with the image that it is about."""
        subjects = platforms(image)
        for platform, document in self._sboms.items():
            yield platform, subjects[platform], document

    def _attach_in(
        self,
        api: RegistryApi,
        image: Manifest,
        documents: Sequence[_Document],
        statements: list[_Statement],
    ) -> Iterator[dict[str, str]]:
        media_type = signing.ENVELOPE_TYPE if self._key else provenance.PAYLOAD_TYPE
        for platform, subject, document in documents:
            kind = f"SBOM for {platform}" if platform else "SBOM"
            raw = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
            media = bill_of_materials.MEDIA_TYPE
            attached = self._tries(
                f"attaching the {kind}",
                partial(self._put, api, _Statement(kind, subject, raw), media, media),
            )
            yield self._said(api, kind, media, attached)
        for one in statements:
            attached = self._tries(
                f"attaching {one.kind}", partial(self._put, api, one, media_type, _STATEMENT)
            )
            yield self._said(api, one.kind, media_type, attached)
        if not self._key:
            return
        for digest in dict.fromkeys(one.subject["digest"] for one in statements):
            about = [
                (one.kind, one.content) for one in statements if one.subject["digest"] == digest
            ]
            together = self._tries(
                "attaching attestations", partial(signing.put_attestations, api, digest, about)
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
        one: _Statement,
        media_type: str,
        artifact_type: str,
    ) -> Manifest:
        note = {_PREDICATE_NOTE: one.kind} if artifact_type == _STATEMENT else {}
        attached = artifact(
            api,
            artifact_type,
            note,
            content=one.content,
            media_type=media_type,
            layer_annotations=note,
            subject=one.subject,
        )
        attach(api, one.subject["digest"], attached)
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
