"""Phase `test`: run every test command inside the built image, without network by default.

Each command gets a fresh container of the image. The task starts together with `build` and waits
for its result: Nomad has no order among prestart tasks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.contract import image_index
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.failures.tested_command import TestedCommand, all_of
from controller.tasks.isolation import sealing
from controller.tasks.isolation.memory import MemoryWatch
from controller.tasks.isolation.memory_limit import limited
from controller.tasks.isolation.platforms import registration
from controller.tasks.isolation.sandbox import Network, Sandbox, ulimits
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase, read_request
from controller.tasks.phase_results import read_result
from controller.tasks.process import Deadline, duration
from controller.tasks.supply_chain import bill_of_materials

# Failures of one command, after which the others can still be tried (test.keep_going).
_OF_ONE = ("TestFailed", "TestCommandNotFound", "OutOfMemory", "PlatformUnavailable")
# Seconds between looks for the build's result (inotify is not in the library): the longer it takes,
# the less a moment more matters, and the more looking takes from it.
_POLL, _LONGEST_POLL, _POLL_SHARE = 0.01, 0.1, 0.002


def read(environment: TaskEnvironment) -> dict[str, Any]:
    """The request; empty where it is invalid, which is for the build phase to report."""
    try:
        return read_request(environment)
    except PhaseFailed:
        return {}


def work(phase: Phase) -> str:
    """Test; fills commands. Raises PhaseFailed."""
    build = _await_build(phase)
    if build["status"] != "succeeded":
        return "skipped"
    commands = list(phase.request["test"]["commands"])
    if (rerun := phase.request.get("rerun")) and rerun["phase"] == "publish":
        phase.log.say(f"the image was tested by {rerun['job_id']}")
        bill_of_materials.make(phase, build)
        return "skipped"
    if not commands and not phase.request["test"]["entry_point"]:
        phase.log.say("no test commands")
        bill_of_materials.make(phase, build)
        return "skipped"
    storage = OwnerStorage(phase.environment, phase.request)
    # The time of the phase begins now, not while it waited.
    phase.started = datetime.now(UTC)
    deadline = Deadline.after(phase.deadline.seconds, phase.deadline.guard)
    deadline = limited(deadline, phase.request, "test")
    with storage.in_use():
        # Without platforms asked for, there is one image, and which platform it is goes unsaid.
        images = build.get("images") or {"": build["image_id"]}
        status = _Tests(phase, storage, images, deadline).run(commands)
    bill_of_materials.make(phase, build)
    return status


def _await_build(phase: Phase) -> dict[str, Any]:
    """The build's result, as soon as it is there. Ends by a signal if the build task died."""
    begun = time.monotonic()
    while True:
        result = read_result(phase.environment, "build")
        if result is not None:
            return result
        waited = time.monotonic() - begun
        time.sleep(min(max(_POLL, _POLL_SHARE * waited), _LONGEST_POLL))


@dataclass(frozen=True, slots=True)
class _Test:
    platform: str
    shown: str
    argv: list[str]


class _Tests:
    def __init__(
        self, phase: Phase, storage: OwnerStorage, images: Mapping[str, str], deadline: Deadline
    ) -> None:
        self._phase = phase
        self._storage = storage
        self._images = images
        self._deadline = deadline
        self._sandbox = Sandbox(
            storage.env(), driver=phase.environment.driver, allow=phase.environment.network_allow
        )
        self._network = (
            Network.EGRESS if phase.request["test"]["network"] == "egress" else Network.NONE
        )

    def run(self, commands: list[Any]) -> str:
        done: list[dict[str, Any]] = []
        self._phase.fields["commands"] = done
        self._sandbox.emulate(
            [line for line in map(registration, filter(None, self._images)) if line]
        )
        todo = [
            _Test(platform, *self._argv(command))
            for platform in self._images
            for command in commands
        ]
        if self._phase.request["test"]["entry_point"]:
            todo += [
                _Test(platform, "the image's entry point", self._entry_point(platform))
                for platform in self._images
            ]
        failures: list[PhaseFailed] = []
        try:
            for number, test in enumerate(todo, 1):
                try:
                    self._one(number, len(todo), test, done)
                except PhaseFailed as error:
                    failures.append(error)
                    if error.reason not in _OF_ONE or not self._phase.request["test"]["keep_going"]:
                        break
        finally:
            self._storage.remove_containers(self._sandbox)
        if failures:
            raise all_of(failures, len(todo))
        return "succeeded"

    def _one(self, number: int, of: int, test: _Test, done: list[dict[str, Any]]) -> None:
        log, shown = self._phase.log, test.shown
        several = len(self._images) > 1 or image_index.FIELD in self._phase.request
        command = TestedCommand(number, of, shown, test.argv)
        record = command.record | ({"platform": test.platform} if several else {})
        done.append(record)
        record["log"] = [log.size, None]
        log.say(f"test {number}/{of}{f' for {test.platform}' if several else ''}: {shown}")
        started, memory = time.monotonic(), MemoryWatch()
        at = {"command": shown, "step": f"test {number}/{of}"}
        name = f"nbs-test-{self._phase.environment.alloc_id}-{number}"
        try:
            self._create(name, self._images[test.platform])
            for _ in range(sealing.ATTEMPTS):
                command.begin()
                code = self._run(name, command)
                if not (code and sealing.refused(command.first)):
                    break
                log.say("buildah could not start the command: trying again")
        except DeadlinePassed:
            raise PhaseFailed(
                "TestTimeout",
                f"timed out after {duration(self._deadline.seconds)} in test {number}/{of}",
                **at,
            ) from None
        except PhaseFailed as error:  # no container can be made, no isolation had, the disk is full
            raise PhaseFailed(error.reason, error.message, **at | error.details) from error
        finally:
            record["duration_seconds"] = round(time.monotonic() - started, 3)
            record["output_tail"] = command.tail
            record["log"][1] = log.size
        record["exit_code"], record["signal"] = command.ended(code)
        if code:
            runs_here = not test.platform or registration(test.platform) is not None
            raise command.failure(record, memory, runs_here=runs_here)

    def _run(self, name: str, command: TestedCommand) -> int:
        """Run a command in a container made for it: its exit code."""
        options = [
            word
            for key, value in self._phase.request["test"]["env"].items()
            for word in ("--env", f"{key}={value}")
        ]
        return self._sandbox.run(
            self._storage.buildah(
                "run", "--isolation", "chroot", *options, name, "--", *command.argv
            ),
            lambda stream, text: command.heard(self._phase.log.write(stream, text)),
            self._deadline,
            network=self._network,
        )

    def _create(self, name: str, image_id: str) -> None:
        code, _, said = self._sandbox.capture(
            self._storage.buildah(
                "from",
                "--pull-never",
                "--name",
                name,
                "--cap-drop",
                "CAP_SYS_CHROOT",
                "--http-proxy=false",
                "--cgroup-parent",
                self._storage.own_containers,
                *ulimits(processes=self._phase.request["test"]["processes"]),
                image_id,
            ),
            self._deadline,
        )
        if code:
            raise PhaseFailed(
                "TestFailed",
                f"a container of the image cannot be made: {said}",
                exit_code=code,
            )

    @staticmethod
    def _argv(command: str | list[str]) -> tuple[str, list[str]]:
        """A string goes to the image's own shell as one argument; a list is run as it is."""
        if isinstance(command, str):
            return command, ["/bin/sh", "-c", command]
        return json.dumps(command, ensure_ascii=False), list(command)

    def _entry_point(self, platform: str) -> list[str]:
        code, said, _ = self._sandbox.capture(
            self._storage.buildah(
                "inspect",
                "--type",
                "image",
                "--format",
                "{{json .OCIv1.Config}}",
                self._images[platform],
            ),
            self._deadline,
        )
        config = json.loads(said) if code == 0 else {}
        argv = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
        if not argv:
            raise PhaseFailed(
                "TestCommandNotFound",
                "test.entry_point is set, but the image has no ENTRYPOINT or CMD",
            )
        return argv
