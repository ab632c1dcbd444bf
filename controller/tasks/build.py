"""Phase `build`: fetch the ref, resolve the commit, pull base images, build the image.

Credentials are read, used and destroyed before the first line of the Dockerfile runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from controller.contract import image_index, patch
from controller.contract.log_line import clean
from controller.contract.patch import PATCH_LABEL
from controller.tasks import prune, rerun
from controller.tasks.context import source_tree
from controller.tasks.context.git import Repository
from controller.tasks.dockerfiles import dockerfile, reproducible, stage_names, workdirs
from controller.tasks.dockerfiles.first_miss import FirstMiss
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.failures.build_diagnosis import BuildDiagnosis, Written
from controller.tasks.failures.build_progress import BuildProgress, together
from controller.tasks.isolation import run_mounts, sealing
from controller.tasks.isolation.memory import MemoryWatch
from controller.tasks.isolation.platforms import NATIVE, arguments, registration
from controller.tasks.isolation.routes import NAME_SERVER
from controller.tasks.isolation.run_mounts import RunMounts
from controller.tasks.isolation.sandbox import Network, Sandbox, ulimits
from controller.tasks.node import image_configs
from controller.tasks.node.eviction import Uses
from controller.tasks.node.storage import OwnerStorage, image_ids
from controller.tasks.phase import Phase
from controller.tasks.process import duration
from controller.tasks.registries import base_digests, base_images
from controller.tasks.registries.registry_cache import RegistryCache
from controller.tasks.vault import VaultSession

# Older ones let a RUN step out of its chroot (CVE-2024-1753, CVE-2024-9675, double chroot).
_OLDEST_BUILDAH = (1, 39)
GIT_SECRET = (("ssh_key",), ("username", "password"), ("password",))
PULL_SECRET = (("registry", "username", "password"),)


def work(phase: Phase) -> str:
    """Build; fills commit, source, image_id, images, steps, cache. Raises PhaseFailed."""
    for image in prune.make_room(phase.environment):
        phase.log.say(f"evicted {image} from the layer cache: the disk is short of space")
    storage = OwnerStorage(phase.environment, phase.request)
    with storage.in_use():
        storage.prepare()
        if phase.request.get("rerun"):
            return rerun.work(phase, storage)
        return _Build(phase, storage).run()


class _Build:
    def __init__(self, phase: Phase, storage: OwnerStorage) -> None:
        self._phase = phase
        self._request = phase.request
        self._log = phase.log
        self._storage = storage
        self._sandbox = Sandbox(
            storage.env(), driver=phase.environment.driver, allow=phase.environment.network_allow
        )
        self._memory = MemoryWatch()
        self._uses = Uses(storage.directory)
        self._missed: dict[str, Any] = {}
        self._cache = RegistryCache(phase, storage, self._sandbox)
        self._platforms = self._request["platforms"] or [NATIVE]
        self._several = len(self._platforms) > 1 or image_index.FIELD in self._request
        self._ended: list[BuildProgress] = []
        self._buildah = (0, 0)
        self._commit_time = 0
        self._users: dict[str, str | None] = {}
        self._position = "while fetching the repository"

    def run(self) -> str:
        try:
            self._check_node()
            git, pull, mounts = self._credentials()
            self._fetch(git)
            context, content = source_tree.dockerfile(self._storage.source, self._request)
            content = stage_names.as_declared(content)
            self._position = "while pulling base images"
            parsed, pulled = base_images.pull(
                self._phase, self._storage, self._sandbox, partial(self._parse, content), pull
            )
            self._users = image_configs.users(self._storage.directory / "root", pulled)
            if self._phase.environment.provenance:
                found = base_digests.digests(self._storage, pulled)
                self._phase.fields["base_images"] = found
            self._emulate({*self._platforms, *base_images.platforms(parsed)})
            with mounts.options(self._phase.environment.secrets_dir) as options:
                images = {
                    platform: self._bud(context, content, parsed[platform], platform, options)
                    for platform in self._platforms
                }
            self._phase.fields["image_id"] = next(iter(images.values()))
            if self._request["platforms"]:
                self._phase.fields["images"] = images
        except DeadlinePassed:
            raise PhaseFailed("BuildTimeout", self._timed_out(self._position)) from None
        except PhaseFailed as error:
            if error.reason != "OutOfDisk" or error.details.get("step"):
                raise
            message = f"{error.message} ({self._position})"
            raise PhaseFailed(error.reason, message, **error.details) from error
        return "succeeded"

    def _written(self, content: bytes, parsed: dockerfile.Dockerfile) -> Written:
        return Written(source_tree.text(content), parsed, self._phase.redactor.redact)

    def _parse(
        self, content: bytes, triggers: Mapping[str, list[str]]
    ) -> dict[str, dockerfile.Dockerfile]:
        text, request = source_tree.text(content), self._request
        return {
            one: dockerfile.parse(text, request["build_args"], request["target"], one, triggers)
            for one in self._platforms
        }

    def _emulate(self, wanted: Collection[str]) -> None:
        found = {platform: registration(platform) for platform in wanted}
        for platform in sorted(name for name, line in found.items() if line is None):
            self._log.say(
                f"this node cannot run programs of {platform}: qemu-user-static is not installed"
            )
        self._sandbox.emulate([line for line in found.values() if line])

    def _timed_out(self, position: str) -> str:
        return f"timed out after {duration(self._phase.deadline.seconds)} {position}"

    def _check_node(self) -> None:
        """Namespaces can be had, and Buildah in them is one that holds untrusted code."""
        environment = self._phase.environment
        said = self._sandbox.probe([environment.buildah, "--version"])
        match = re.search(r"version (\d+)\.(\d+)", said)
        self._buildah = (int(match[1]), int(match[2])) if match else (0, 0)
        if self._buildah < _OLDEST_BUILDAH:
            raise PhaseFailed(
                "NodeNotPrepared",
                f"{environment.buildah} is {said.strip() or 'unknown'}: versions below "
                f"{'.'.join(map(str, _OLDEST_BUILDAH))} let a build step out of its chroot",
            )

    def _credentials(self) -> tuple[dict[str, str], dict[str, str], RunMounts]:
        """For Git, for pulling, for RUN steps; Vault's token and the identity are gone then."""
        git: dict[str, str] = {}
        pull: dict[str, str] = {}
        with VaultSession(self._phase.environment, self._phase.redactor) as vault:
            if self._request["git_credentials_path"]:
                git = vault.read(self._request["git_credentials_path"], GIT_SECRET)
            if self._phase.environment.pull_credentials_path:
                pull = vault.read(self._phase.environment.pull_credentials_path, PULL_SECRET)
            self._cache.read_credential(vault)
            mounts = run_mounts.read(
                vault, self._request["build_secrets"], self._request["build_ssh"]
            )
        return git, pull, mounts

    def _fetch(self, credential: dict[str, str]) -> None:
        url, ref = self._request["repo_url"], self._request["git_ref"]
        self._log.say(f"fetching {ref} of {url}")
        repository = Repository(
            self._phase.environment,
            self._log,
            self._phase.deadline,
            url,
            self._storage.source,
            credential,
        )
        commit = repository.fetch(
            ref, submodules=self._request["submodules"], patch=self._request["patch"]
        )
        self._commit_time = repository.commit_time
        self._phase.fields.update(commit=commit, source=url, patch=repository.applied)
        self._log.say(f"commit {commit}")

    def _bud(
        self,
        context: Path,
        content: bytes,
        parsed: dockerfile.Dockerfile,
        platform: str,
        mounts: list[str],
    ) -> str:
        """Build for one platform; the image's ID."""
        scratch = self._storage.scratch
        if self._several:
            self._log.say(f"building for {platform}")
        which = f" for {platform}" if self._several else ""
        self._position = f"before the first step{which}"
        layers = not self._request["clear_cache"]
        written = self._written(content, parsed)
        content, parsed = workdirs.keep(content, parsed, self._users, layers=layers)
        # Our own copy: a fixed name (Buildah runs `*.in` through a preprocessor), and the very
        # bytes that were checked.
        (scratch / "Dockerfile").write_bytes(content)
        iidfile = scratch / "iid"
        argv = self._storage.buildah(
            *self._options(parsed, platform),
            *mounts,
            "--iidfile",
            str(iidfile),
            "--file",
            str(scratch / "Dockerfile"),
            str(context),
        )
        why = FirstMiss(self._storage, self._request, parsed, context, content, platform)
        done = self._cache.pull(argv, parsed, self._request["target"])
        for attempt in range(1, sealing.ATTEMPTS + 1):
            progress = BuildProgress(parsed, platform if self._several else "", done)
            diagnosis = BuildDiagnosis(progress, written, platform=platform)
            code = self._run_buildah(argv, progress, diagnosis)
            if not (code and progress.not_started) or attempt == sealing.ATTEMPTS:
                break
            self._log.say("buildah could not start the command: trying again")
        ids = image_ids(self._storage.directory)
        self._uses.mark(ids[image] for image in parsed.images if image in ids)
        self._missed = self._missed or why.explain(progress)
        self._phase.fields["cache"] |= self._missed
        why.keep(progress, failed=bool(code))
        if code:
            raise diagnosis.failure(code, self._memory)
        self._position = f"after the last step{which}"
        cache = progress.fields()["cache"]
        self._log.say(f"layer cache: {cache['hits']} hits, {cache['misses']} misses")
        if self._missed:
            first = self._missed["first_miss"]
            self._log.say(
                f"first miss on line {first['dockerfile_line']}: {first['message']}"
                f" ({first['reason']})"
            )
        self._ended.append(progress)
        image_id = iidfile.read_text().strip()
        self._cache.push(argv, progress)
        self._phase.fields["cache"] |= self._cache.fields()
        return image_id

    def _run_buildah(
        self, argv: list[str], progress: BuildProgress, diagnosis: BuildDiagnosis
    ) -> int:
        network = Network.NONE if self._request["build_network"] == "none" else Network.EGRESS

        def on_line(stream: str, line: str) -> None:
            written = self._log.write(stream, line)
            progress.feed(stream, clean(line), written)
            self._uses.feed(written)

        try:
            return self._sandbox.run(
                argv,
                on_line,
                self._phase.deadline,
                network=network,
                cwd=self._storage.scratch,
            )
        except DeadlinePassed:
            late = PhaseFailed("BuildTimeout", self._timed_out(progress.position))
            raise diagnosis.ended_early(late) from None
        except PhaseFailed as error:  # the disk's floor was reached, or no isolation was had
            raise diagnosis.ended_early(error) from error
        finally:
            self._phase.fields.update(together([*self._ended, progress]))
            self._phase.fields["cache"] |= self._cache.fields() | self._missed

    def _options(self, parsed: dockerfile.Dockerfile, platform: str) -> list[str]:
        request = self._request
        options = [
            "build",
            "--isolation",
            "chroot",
            "--cap-drop",
            "CAP_SYS_CHROOT",
            "--pull=never",
            "--force-rm",
            "--http-proxy=false",
            "--format",
            "docker" if parsed.needs_docker_format else "oci",
            "--cgroup-parent",
            self._storage.own_containers,
        ]
        options += ["--no-cache"] if request["clear_cache"] else ["--layers"]
        options += workdirs.options(self._storage.scratch)
        options += reproducible.options(request, self._commit_time, self._buildah)
        options += ulimits(processes=8192)
        if request["build_network"] != "none":
            options += ["--dns", NAME_SERVER]
        if platform != NATIVE:
            options += ["--platform", platform, *_target_arguments(platform)]
        if parsed.target:
            options += ["--target", parsed.target]
        for name, value in request["build_args"].items():
            options += ["--build-arg", f"{name}={value}"]
        ignore = source_tree.ignore_file(self._storage.source, request["dockerfile_path"])
        if ignore:
            options += ["--ignorefile", str(ignore)]
        for name, value in self._labels().items():
            options += ["--label", f"{name}={value}"]
        return options

    def _labels(self) -> dict[str, Any]:
        """Who made this from what: https://specs.opencontainers.org/image-spec/annotations."""
        # Buildah writes labels into a LABEL instruction, which would expand a dollar.
        source = self._request["repo_url"].replace("$", "%24")
        return {
            "org.opencontainers.image.source": source,
            "org.opencontainers.image.revision": self._phase.fields["commit"],
            **self._request["labels"],
            **({PATCH_LABEL: patch.digest(given)} if (given := self._request["patch"]) else {}),
        }


def _target_arguments(platform: str) -> list[str]:
    """Buildah gives an ARG before FROM the node's own platform, whatever it builds for."""
    found = arguments(platform)
    names = ("TARGETOS", "TARGETARCH", "TARGETVARIANT")
    return [word for name in names for word in ("--build-arg", f"{name}={found[name]}")]
