"""Task `keep`: push the image of a build whose tests failed, so that a person can look into it.

A poststop task beside `finish`: the last line of untrusted code has ended. It reads one credential,
that of the intermediate repository, and pushes to that repository only, under the build's own name.
Whatever goes wrong is a warning in the outcome and never the build's result. Nomad cannot stop a
poststop task, so it is bounded in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.contract import image_names
from controller.contract.results import DIGEST, failure
from controller.tasks import diagnosis, intermediate
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.phase import Phase, read_request
from controller.tasks.phase_results import read_result
from controller.tasks.process import Deadline
from controller.tasks.registry import Registry, host_of, login
from controller.tasks.sandbox import Sandbox
from controller.tasks.storage import OwnerStorage
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)


def read(environment: TaskEnvironment) -> dict[str, Any]:
    """The request; empty where it is invalid, which is for the build phase to report."""
    try:
        return read_request(environment)
    except PhaseFailed:
        return {}


def work(phase: Phase) -> str:
    """Push the image if it is to be kept; fills digest, or `problem`."""
    try:
        why = intermediate.wanted(phase.environment, phase.request) if phase.request else ""
        if not why:
            return "skipped"
        phase.log.say(f"the image is kept: {why}")
        phase.deadline = Deadline.after(intermediate.PUSH_SECONDS)
        phase.fields["digest"] = _push(phase)
    except PhaseFailed as error:
        _warn(phase, error)
    except DeadlinePassed:
        _warn(phase, PhaseFailed("RegistryUnavailable", "the push did not end in time"))
    except OSError as error:
        _warn(phase, PhaseFailed("NodeNotPrepared", str(error)))
    finally:
        phase.environment.identity_file.unlink(missing_ok=True)
    return "succeeded"


def _warn(phase: Phase, error: PhaseFailed) -> None:
    message = phase.redactor.redact(error.message)
    phase.log.say(f"warning: the image is not kept: {error.reason}: {message}")
    phase.fields["problem"] = failure("keep", error.reason, message)


def _push(phase: Phase) -> str:
    environment = phase.environment
    repository = environment.intermediate_repository
    credential: dict[str, str] = {}
    with VaultSession(environment, phase.redactor) as vault:
        if path := environment.intermediate_credentials_path:
            credential = vault.read(path, _SECRET) | {"registry": host_of(repository)}
    build = read_result(environment, "build")
    if build is None or not build.get("image_id"):
        raise PhaseFailed("TamperedResult", "the build's result is gone")
    reference = image_names.intermediate(repository, environment.job_id)
    storage = OwnerStorage(environment, phase.request)
    with storage.in_use(), login(environment.secrets_dir, credential) as authfile:
        digest = _push_image(phase, storage, build, reference, str(authfile))
        Registry(storage.env(), authfile, phase.log, phase.deadline).verify(reference, digest)
    phase.log.say(f"kept {reference}@{digest}")
    return digest


def _push_image(
    phase: Phase, storage: OwnerStorage, build: Mapping[str, Any], reference: str, authfile: str
) -> str:
    """Push one image, or those of several platforms as one list; the digest."""
    digestfile = phase.environment.task_dir / "digest"
    sandbox = Sandbox(storage.env(), driver=phase.environment.driver)
    name: str = build["image_id"]
    command: tuple[str, ...] = ("push",)
    if len(images := build.get("images") or {}) > 1:
        name, command = f"{storage.own_containers}-kept", ("manifest", "push", "--all")
        for step in (("create", name), *(("add", name, one) for one in images.values())):
            code, _, words = sandbox.capture(storage.buildah("manifest", *step), phase.deadline)
            if code:
                raise PhaseFailed("PublishFailed", f"the images cannot be joined: {words.strip()}")
    said: list[str] = []
    options = ("--quiet", "--retry", "2", "--retry-delay", "1s", "--authfile", authfile)
    code = sandbox.run(
        storage.buildah(
            *command, *options, "--digestfile", str(digestfile), name, f"docker://{reference}"
        ),
        lambda stream, text: said.append(phase.log.write(stream, text)),
        phase.deadline,
    )
    if code:
        raise diagnosis.push_failure(reference, said)
    digest = digestfile.read_text().strip()
    if not DIGEST.match(digest):
        raise PhaseFailed("PublishFailed", f"buildah reported no digest but {digest[:80]!r}")
    return digest
