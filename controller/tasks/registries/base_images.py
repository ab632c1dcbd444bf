"""Base images, fetched before the build: while untrusted code runs no credential is at hand.

Buildah then takes them from the storage by name (`--pull=never`). Where a build needs a name for
several platforms, the name stands for a manifest list of what was fetched, as in the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.needs import Need
from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import diagnosis
from controller.tasks.isolation.platforms import NATIVE
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node import image_configs
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.registries.registry import login
from controller.tasks.registries.stalling import StallGuard
from controller.tasks.registries.tries import Tries, passing

_UNAVAILABLE = "BaseImageUnavailable"
_PULLS = 3  # Buildah tries once more within each
_LONGEST_TEXT = 2000  # characters of an instruction


Parsed = Mapping[str, Dockerfile]  # for each platform that is built for


def pull(
    phase: Phase,
    storage: OwnerStorage,
    sandbox: Sandbox,
    parse: Callable[[Mapping[str, list[str]]], Parsed],
    credential: dict[str, str],
) -> tuple[Parsed, dict[str, list[str]]]:
    """Fetch every image for the platforms that it is needed for.

    `parse` reads the Dockerfile, given the ONBUILD instructions of its base images, by name: those
    may name more images. Returns what it found, and the images' IDs by name. Raises PhaseFailed
    with the instruction that names the image first.
    """
    pulling = Pull(phase, storage, sandbox)
    parsed = parse({})
    with login(phase.environment.secrets_dir, credential) as authfile:
        pulled = _pull_all(pulling, _needs(parsed), authfile)
        if triggers := image_configs.triggers(storage.directory / "root", pulled):
            parsed = parse(triggers)
            more = [need for need in _needs(parsed) if need.image not in pulled]
            pulled |= _pull_all(pulling, more, authfile)
    return parsed, pulled


def platforms(parsed: Parsed) -> set[str]:
    """The platforms of base images."""
    return {need.platform for need in _needs(parsed)}


def _needs(parsed: Parsed) -> list[Need]:
    return [need for one in parsed.values() for need in one.needs]


def _pull_all(pulling: Pull, needs: Iterable[Need], authfile: Path) -> dict[str, list[str]]:
    wanted: dict[str, dict[str, Need]] = {}
    for need in needs:
        wanted.setdefault(need.image, {}).setdefault(need.platform, need)
    pulled: dict[str, list[str]] = {}
    for image, each in wanted.items():
        pulled[image] = [_pull(pulling, need, authfile) for need in each.values()]
        if len(each) > 1:
            pulling.list(image, pulled[image])
    return pulled


def _pull(pulling: Pull, need: Need, authfile: Path) -> str:
    try:
        return pulling.one(need.image, need.platform, authfile)
    except PhaseFailed as error:
        one = need.instruction
        where: dict[str, Any] = {"step": one.source[:500], "dockerfile_line": one.line}
        where |= {"dockerfile_text": one.written[:_LONGEST_TEXT]}
        raise PhaseFailed(error.reason, error.message, **where | error.details) from error


class Pull:
    """Fetches images into the storage of one build."""

    def __init__(self, phase: Phase, storage: OwnerStorage, sandbox: Sandbox) -> None:
        self._phase = phase
        self._storage = storage
        self._sandbox = sandbox
        self._lists = 0

    def one(self, image: str, platform: str, authfile: Path) -> str:
        """Fetch an image; its ID."""
        foreign = () if platform == NATIVE else ("--platform", platform)
        self._phase.log.say(f"base image {image}" + (f" for {platform}" if foreign else ""))
        said: list[str] = []

        def on_line(stream: str, text: str) -> None:
            # Standard output is the image's ID, which tells a reader nothing.
            said.append(text if stream == "stdout" else self._phase.log.write(stream, text))

        argv = self._storage.buildah(
            "pull",
            "--quiet",
            "--retry",
            "1",
            "--policy",
            "ifnewer",
            "--authfile",
            str(authfile),
            *foreign,
            image,
        )

        def attempt() -> None:
            said.clear()
            seconds = self._phase.environment.registry_stall_seconds
            guarded = StallGuard(seconds).within(self._phase.deadline)
            if self._sandbox.run(argv, on_line, guarded):
                error = diagnosis.pull_failure(image, said)
                if error.reason == _UNAVAILABLE:
                    error = passing(PhaseFailed("RegistryUnavailable", error.message))
                raise error

        tries = Tries(self._phase.log, self._phase.deadline, most=_PULLS)
        try:
            tries(f"pulling {image}", attempt)
        except PhaseFailed as error:
            if error.reason != "RegistryUnavailable":
                raise
            message = error.message.removeprefix(f"{image}: ")
            raise PhaseFailed(_UNAVAILABLE, f"{image}: {message}") from error
        found = said[-1].strip()
        if foreign:  # a name without a list gives its only image, whatever was asked for
            self._check(image, platform, found)
        return found

    def _check(self, image: str, platform: str, image_id: str) -> None:
        form = "{{.OCIv1.OS}}/{{.OCIv1.Architecture}}"
        _, said, _ = self._sandbox.capture(
            self._storage.buildah("inspect", "--type", "image", "--format", form, image_id),
            self._phase.deadline,
        )
        if said.strip() != "/".join(platform.split("/")[:2]):
            raise PhaseFailed(
                "BaseImageNotFound", f"{image} is for {said.strip()} only, not for {platform}"
            )

    def list(self, image: str, found: list[str]) -> None:
        """Let a name stand for several images, by platform."""
        self._lists += 1
        name = f"{self._storage.own_containers}-{self._lists}"
        steps: list[tuple[str, ...]] = [("manifest", "create", name)]
        steps += [("manifest", "add", name, image_id) for image_id in found]
        steps += [("tag", name, image)]
        for step in steps:
            code, _, said = self._sandbox.capture(
                self._storage.buildah(*step), self._phase.deadline
            )
            if code:
                raise diagnosis.pull_failure(image, [said])
