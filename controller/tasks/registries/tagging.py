"""Tags of a published image: every one of them or none, as far as registries allow.

Registries know no transaction. So what each tag named before is read first, and when one cannot be
given, those that were given are taken back: a tag that named another image is put back to it, a new
one is deleted. Many registries delete no tags, only manifests, and with one all its tags; then the
tag is moved to a manifest made for the purpose, and that is deleted. The image's own manifest is
never deleted: it may have been there before, and somebody may use it by digest.

Two builds of a branch may give the same tag at the same moment. Each has given it then, and the tag
names what was put last, as with any push: the other's is `moved`, which is no failure.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from controller.tasks.errors import PhaseEnded, PhaseFailed
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline
from controller.tasks.registries.artifact import artifact
from controller.tasks.registries.destinations import Destination
from controller.tasks.registries.registry_api import Manifest, RegistryApi
from controller.tasks.registries.tries import Tries

_UNDO_WITHIN = 15  # seconds; a task that is stopped has 20


@dataclass(slots=True)
class Tag:
    """One tag, what it named before, and what became of it."""

    api: RegistryApi
    name: str
    before: Manifest | None = None
    state: str = "untouched"
    digest: str | None = None  # that it names, as far as is known
    given: bool = False  # to the image, and not taken back

    @property
    def reference(self) -> str:
        """The tag as people write it."""
        return f"{self.api.repository}:{self.name}"

    def shown(self) -> dict[str, str | None]:
        """As in an outcome."""
        return {"reference": self.reference, "state": self.state, "digest": self.digest}


class Tagging:
    """Gives an image, which its repositories hold already, its tags in each of them."""

    def __init__(
        self,
        places: Sequence[Destination],
        names: Sequence[str],
        manifest: Manifest,
        log: PhaseLog,
        deadline: Deadline,
    ) -> None:
        self.tags = [Tag(place.api, name) for place in places for name in names]
        self._manifest = manifest
        self._log = log
        self._tries = Tries(log, deadline)

    def given(self) -> list[str]:
        """References of the tags that the image has, or had until somebody moved them."""
        return [tag.reference for tag in self.tags if tag.given]

    def give_all(self) -> None:
        """Raises what kept a tag from being given, after taking back the others."""
        try:
            for tag in self.tags:
                tag.before = self._tries(
                    f"reading {tag.reference}", partial(tag.api.manifest, tag.name)
                )
                self._names(tag, tag.before)
            for tag in self.tags:
                self._give(tag)
        except (PhaseEnded, OSError) as error:
            self._take_back()
            if isinstance(error, PhaseFailed):
                raise PhaseFailed(
                    error.reason, f"{error.message}; {self._left()}", **error.details
                ) from error
            raise

    def _give(self, tag: Tag) -> None:
        tag.state = "unknown"  # until the registry has answered
        self._tries(
            f"giving {tag.reference}", lambda: tag.api.put_manifest(tag.name, self._manifest)
        )
        found = self._tries(f"verifying {tag.reference}", lambda: tag.api.manifest(tag.name))
        self._names(tag, found)
        if tag.given:
            tag.state = "published"
            self._log.say(f"published {tag.reference}@{tag.digest}")
        elif found and self._is_of_another(tag, found):
            tag.state, tag.given = "moved", True
            self._log.say(
                f"published {tag.reference}@{self._manifest.digest}; "
                f"somebody has moved the tag to {found.digest} since"
            )
        else:
            raise PhaseFailed(
                "DigestMismatch",
                f"{tag.reference} names {tag.digest or 'nothing'} in the registry, "
                f"not {self._manifest.digest}",
            )

    def _names(self, tag: Tag, found: Manifest | None) -> None:
        tag.digest = found.digest if found else None
        tag.given = tag.digest == self._manifest.digest

    def _is_of_another(self, tag: Tag, found: Manifest) -> bool:
        """Whether somebody has put this manifest since, and the registry did not garble ours."""
        if tag.before and tag.before.digest == found.digest:
            return False
        by_digest = self._tries(
            f"verifying {tag.api.repository}@{found.digest}",
            lambda: tag.api.manifest(found.digest),
        )
        return by_digest is not None and by_digest.digest == found.digest

    def _take_back(self) -> None:
        tries = Tries(self._log, Deadline.after(_UNDO_WITHIN), most=3)
        touched = [tag for tag in self.tags if tag.state != "untouched"]
        for tag in reversed(touched):
            try:
                self._restore(tag, tries)
            except (PhaseEnded, OSError) as error:
                tag.state, tag.digest, tag.given = "unknown", None, False
                self._log.say(f"{tag.reference} could not be taken back: {error}")
            else:
                self._log.say(f"{tag.reference}: {tag.state}")

    def _restore(self, tag: Tag, tries: Tries) -> None:
        now = tries(f"reading {tag.reference}", lambda: tag.api.manifest(tag.name))
        self._names(tag, now)
        before = tag.before
        if tag.digest == (before.digest if before else None):
            tag.state = "untouched"
        elif tag.digest != self._manifest.digest:
            tag.state = "moved"  # by somebody else meanwhile: not ours to change
        elif before is not None:
            tries(f"restoring {tag.reference}", lambda: tag.api.put_manifest(tag.name, before))
            tag.state = "restored"
            self._names(tag, before)
        elif tries(f"removing {tag.reference}", lambda: remove_tag(tag.api, tag.name)):
            tag.state = "removed"
            self._names(tag, None)
        else:
            tag.state = "left"

    def _left(self) -> str:
        """Which tags are not as they were, in words."""
        left = [tag for tag in self.tags if tag.state in ("left", "unknown", "moved")]
        if not left:
            return "no tag was changed"
        return "not as before: " + ", ".join(
            f"{tag.reference} ({tag.state}{', ' + tag.digest if tag.digest else ''})"
            for tag in left
        )


def remove_tag(api: RegistryApi, name: str) -> bool:
    """Take a tag away and nothing else; False where the registry does not let it go."""
    if api.delete_manifest(name) and api.manifest(name) is None:
        return True
    stand_in = artifact(
        api, "application/vnd.nomad-build-service.removed", {"nonce": secrets.token_hex(16)}
    )
    api.put_manifest(name, stand_in)
    return api.delete_manifest(stand_in.digest) and api.manifest(name) is None
