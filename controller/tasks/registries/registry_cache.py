"""Layers shared between nodes through a registry, in passes of Buildah that run nothing.

Buildah can fetch and push layers while it builds (`--cache-from`, `--cache-to`), but then its
credential is there while RUN steps run, and their network would have to reach the registry. So
there are passes of their own around the build, with the same options and the host's network:

- before it, with `--cache-from`: what is neither here nor there and would need a RUN step ends the
  pass, for its runtime is `false`;
- after it, with `--cache-to`: every step is in the storage by then.

Nothing of it fails a build; what does not work becomes a warning. Every owner has a repository of
its own below the deployment's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.tasks.dockerfiles import references
from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.instructions import read
from controller.tasks.dockerfiles.stages import Stage, stage_number, target_number
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.failures.build_progress import BuildProgress
from controller.tasks.isolation.sandbox import Sandbox
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.process import Deadline, capture
from controller.tasks.registries.registry import login
from controller.tasks.vault import VaultSession

CACHE_SECRET = (("registry", "username", "password"),)
_REACH_SECONDS, _PULL_SECONDS, _PUSH_SECONDS = 15, 300, 300
_MOST_PASSES = 6
_NO_RUN = ("--isolation", "oci", "--runtime", "/bin/false", "--network", "host")
_PULLED, _PUSHED = "--> Cache pulled from remote", "--> Pushing cache"
_ABSENT = re.compile(r"manifest unknown|name unknown|NAME_UNKNOWN|status code (?:\w+ )*404")
_REMOTE = re.compile(r"\bADD\b.*(?:://|git@|\$)", re.IGNORECASE | re.DOTALL)


def repository_of(base: str, owner: str) -> str:
    """The owner's repository below the deployment's; two owners never share one."""
    name = re.sub(r"[^a-z0-9]+", "-", owner.lower()).strip("-")[:40]
    mark = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return f"{base.rstrip('/')}/{name}-{mark}" if name else f"{base.rstrip('/')}/{mark}"


class _PullFailedError(Exception):
    """Buildah did not even begin."""


class RegistryCache:
    """The registry cache of one build; does nothing where none is wanted or configured.

    `pulled` and `pushed` count layers; `warnings` say what did not work.
    """

    def __init__(self, phase: Phase, storage: OwnerStorage, sandbox: Sandbox) -> None:
        self._phase = phase
        self._storage = storage
        self._sandbox = sandbox
        base = phase.environment.cache_repository
        wanted = phase.request["cache"] and not phase.request["clear_cache"] and base
        self._repository = repository_of(base, phase.request["owner"]) if wanted else ""
        self._credential: dict[str, str] = {}
        self.pulled = self.pushed = 0
        self.warnings: list[str] = []

    def read_credential(self, vault: VaultSession) -> None:
        """Take the credential while Vault can be asked; without it there is no cache."""
        path = self._phase.environment.cache_credentials_path
        if self._repository and path:
            try:
                self._credential = vault.read(path, CACHE_SECRET)
            except PhaseFailed as error:
                self._give_up(f"its credential cannot be read: {error.message}")

    def pull(self, argv: list[str], parsed: Dockerfile, target: str | None) -> set[int]:
        """Fetch what the build can use. The lines of steps that this pass did itself.

        `argv` is the build's own. Those lines are hits for the build that follows, and were none.
        """
        if not self._repository or not self._allowed(parsed):
            return set()
        done: set[int] = set()
        with self._logged_in() as options:
            if not self._reachable(options[1]):
                return set()
            deadline = self._within(_PULL_SECONDS, guarded=True)
            try:
                self._pull_stages(argv, options, parsed, target, deadline, done)
            except DeadlinePassed:
                self._phase.deadline.check()
                self._give_up(f"pulling took more than {_PULL_SECONDS} s")
            except _PullFailedError as error:
                self._give_up(f"pulling failed: {error}")
        if self._repository:
            self._phase.log.say(
                f"registry cache: {self.pulled} layers pulled from {self._repository}"
            )
        return done

    def push(self, argv: list[str], progress: BuildProgress) -> None:
        """Push the layers of a build that succeeded."""
        if not self._repository or not self._worth_pushing(progress):
            return
        said: list[str] = []
        with self._logged_in() as options:
            try:
                code = self._sandbox.run(
                    [*argv[:-1], *_NO_RUN, *options, "--cache-to", self._repository, argv[-1]],
                    lambda _, text: said.append(text),
                    self._within(_PUSH_SECONDS),
                    cwd=self._storage.scratch,
                )
            except DeadlinePassed:
                self._give_up(f"pushing took more than {_PUSH_SECONDS} s")
                return
        self.pushed += sum(line.startswith(_PUSHED) for line in said)
        if code:
            self._give_up(f"pushing failed: {_last_error(said)}")
            return
        self._mark(progress).write_text(json.dumps({"repository": self._repository}))
        self._phase.log.say(f"registry cache: {self.pushed} layers pushed to {self._repository}")

    def fields(self) -> dict[str, object]:
        """What the outcome says of it, beside hits and misses."""
        if not self._repository and not self.warnings:
            return {}
        return {"pulled": self.pulled, "pushed": self.pushed, "warnings": self.warnings}

    def _pull_stages(
        self,
        argv: list[str],
        options: list[str],
        parsed: Dockerfile,
        target: str | None,
        deadline: Deadline,
        done: set[int],
    ) -> None:
        """A pass ends at the first RUN step that is a miss; later stages have passes of their own.

        Those go as far as the step that takes something from a stage that is not complete.
        """
        last = target_number(parsed.stages, target)
        last = len(parsed.stages) - 1 if last is None else last
        failed = self._pull_pass(argv, options, parsed, deadline, done)
        broken = set() if failed is None else {failed}
        for number in [] if failed is None else range(failed + 1, last + 1)[:_MOST_PASSES]:
            file = self._storage.scratch / "Dockerfile"
            text = file.read_text("utf-8", "surrogateescape")
            cut = _first_use(text, parsed.stages, number, broken)
            if cut is not None:
                broken.add(number)
                file = self._storage.scratch / "Dockerfile.begin"
                file.write_text("\n".join(text.split("\n")[: cut - 1]), "utf-8", "surrogateescape")
            if cut != 0:
                at = argv.index("--file") + 1
                some = [*argv[:at], str(file), *argv[at + 1 :]]
                only = [*options, "--target", str(number)]
                if self._pull_pass(some, only, parsed, deadline, done) is not None:
                    broken.add(number)

    def _pull_pass(
        self,
        argv: list[str],
        options: list[str],
        parsed: Dockerfile,
        deadline: Deadline,
        done: set[int],
    ) -> int | None:
        """Fetch what one pass comes to; the stage in which it ended before its end."""
        progress = BuildProgress(parsed)

        def on_line(stream: str, text: str) -> None:
            progress.feed(stream, text)
            self.pulled += text.startswith(_PULLED)

        code = self._sandbox.run(
            [*argv[:-1], *_NO_RUN, *options, "--cache-from", self._repository, argv[-1]],
            on_line,
            deadline,
            cwd=self._storage.scratch,
        )
        if code and not progress.steps:
            raise _PullFailedError((progress.errors or [f"exit code {code}"])[-1])
        done |= {
            step.line
            for step in progress.steps
            if step.line is not None and not step.cached and not step.text.startswith("FROM")
        }
        return _stage_of(parsed, progress) if code else None

    def _allowed(self, parsed: Dockerfile) -> bool:
        """Whether a pass reads nothing from the network; its network is the host's, not RUN's."""
        for stage in parsed.stages:
            for one in stage.instructions:
                if one.keyword in ("ADD", "ONBUILD") and _REMOTE.search(f"{one.source} {one.text}"):
                    self._give_up(f"line {one.line} may ADD from the network")
                    return False
        for image in parsed.images:
            code, triggers, _ = self._sandbox.capture(
                self._storage.buildah(
                    "inspect", "--type", "image", "--format", "{{.Docker.Config.OnBuild}}", image
                ),
                self._phase.deadline,
            )
            if code or triggers.strip() not in ("[]", ""):
                self._give_up(f"base image {image} has ONBUILD instructions")
                return False
        return True

    def _reachable(self, authfile: str) -> bool:
        probe = f"docker://{self._repository}:nbs-probe"
        try:
            code, _, said = capture(
                ["skopeo", "inspect", "--raw", "--authfile", authfile, probe],
                self._within(_REACH_SECONDS),
                env=self._storage.env(),
            )
        except DeadlinePassed:
            self._phase.deadline.check()
            code, said = 1, f"no answer within {_REACH_SECONDS} s"
        if code and not _ABSENT.search(said):
            self._give_up(f"the registry cannot be used: {_last_error(said.splitlines())}")
            return False
        return True

    @contextmanager
    def _logged_in(self) -> Iterator[list[str]]:
        with login(self._phase.environment.secrets_dir, self._credential) as authfile:
            yield ["--authfile", str(authfile), "--retry", "1", "--retry-delay", "1s"]

    def _within(self, seconds: int, *, guarded: bool = False) -> Deadline:
        remaining = int(self._phase.deadline.remaining)
        guard = self._phase.deadline.guard if guarded else None
        return Deadline.after(min(seconds, remaining), guard)

    def _worth_pushing(self, progress: BuildProgress) -> bool:
        """Not where no step ran anew, and layers came from there or were pushed by this node."""
        return not (
            all(
                step.cached or step.line is None or step.text.startswith("FROM")
                for step in progress.steps
            )
            and (self.pulled or self._mark(progress).exists())
        )

    def _mark(self, progress: BuildProgress) -> Path:
        platforms = {step.platform for step in progress.steps}
        own = [step.text for step in progress.steps if step.line is not None]
        chain = [self._repository, *sorted(platforms), *own]
        name = hashlib.sha256(json.dumps(chain).encode()).hexdigest()[:32]
        folder = self._storage.directory / "pushed"
        folder.mkdir(exist_ok=True, mode=0o711)
        return folder / name

    def _give_up(self, why: str) -> None:
        warning = self._phase.redactor.redact(f"registry cache not used: {why}")[:500]
        self.warnings.append(warning)
        self._phase.log.say(f"warning: {warning}")
        self._repository = ""


def _last_error(said: list[str]) -> str:
    errors = [line for line in said if "rror" in line or "level=fatal" in line]
    return (errors or said or ["no message"])[-1].strip()[:300]


def _stage_of(parsed: Dockerfile, progress: BuildProgress) -> int:
    """The stage of the step that a pass ended in."""
    line = progress.current.line if progress.current else None
    for number, stage in enumerate(parsed.stages):
        if any(one.line == line for one in stage.instructions):
            return number
    return len(parsed.stages)


def _first_use(text: str, stages: tuple[Stage, ...], number: int, broken: set[int]) -> int | None:
    """The line of `text` where a stage first uses one of those; None: nowhere, 0: in its FROM."""
    at = -1
    for one in read(text):
        at += one.keyword == "FROM"
        if at == number:
            names = [stages[number].base] if one.keyword == "FROM" else references.written(one)
            if any(stage_number(stages[:number], name) in broken for name in names):
                return 0 if one.keyword == "FROM" else one.line
    return None
