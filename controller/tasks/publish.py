"""Phase `publish`: push the tested image, give it every tag, read the digest back.

Runs as the allocation's main task, which Nomad starts only after `build` and `test` succeeded. Its
credential comes into being here, when the last line of untrusted code has ended. Of what earlier
phases left it takes two values, the image's ID and the commit, both checked by form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.contract.patch import default_tag
from controller.contract.results import DIGEST
from controller.tasks import diagnosis
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.phase_results import read_result
from controller.tasks.registry import Registry, host_of, login
from controller.tasks.sandbox import Sandbox
from controller.tasks.storage import OwnerStorage
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)


def work(phase: Phase) -> str:
    """Publish; fills image, digest, references. Raises PhaseFailed."""
    build = _trusted_build(phase)
    repository = phase.request["image"]
    tags = phase.request["image_tags"] or [default_tag(build["commit"], phase.request["patch"])]
    credential: dict[str, str] = {}
    with VaultSession(phase.environment, phase.redactor) as vault:
        if phase.request["registry_credentials_path"]:
            credential = vault.read(phase.request["registry_credentials_path"], _SECRET)
            credential["registry"] = host_of(repository)
    storage = OwnerStorage(phase.environment, phase.request)
    with storage.in_use(), login(phase.environment.secrets_dir, credential) as authfile:
        first = f"{repository}:{tags[0]}"
        digest = _push(phase, storage, build, first, str(authfile))
        registry = Registry(storage.env(), authfile, phase.log, phase.deadline)
        references = phase.fields.setdefault("references", [])
        phase.fields.update(image=repository, digest=digest)
        for tag in tags:
            if tag != tags[0]:
                registry.copy(f"{repository}@{digest}", f"{repository}:{tag}")
            registry.verify(f"{repository}:{tag}", digest)
            references.append(f"{repository}:{tag}")
            phase.log.say(f"published {repository}:{tag}@{digest}")
    return "succeeded"


def _trusted_build(phase: Phase) -> dict[str, Any]:
    build = read_result(phase.environment, "build")
    test = read_result(phase.environment, "test")
    if (
        build is None
        or test is None
        or build["status"] != "succeeded"
        or test["status"] not in ("succeeded", "skipped")
    ):
        raise PhaseFailed("TamperedResult", "build and test did not both leave a good result")
    if not build.get("image_id") or not build.get("commit"):
        raise PhaseFailed("TamperedResult", "the build's result names no image or no commit")
    if set(build.get("images") or ()) != set(phase.request["platforms"]):
        raise PhaseFailed("TamperedResult", "the build's result names other platforms than asked")
    return build


def _push(
    phase: Phase, storage: OwnerStorage, build: Mapping[str, Any], reference: str, authfile: str
) -> str:
    """Push the image, or a manifest list of the images of several platforms; its digest."""
    digestfile = phase.environment.task_dir / "digest"
    sandbox = Sandbox(storage.env(), driver=phase.environment.driver)
    name, command = build["image_id"], ["push"]
    if len(images := build.get("images") or {}) > 1:
        name, command = (
            _list(phase, storage, sandbox, images.values()),
            ["manifest", "push", "--all"],
        )
    said: list[str] = []
    phase.log.say(f"pushing {reference}")
    code = sandbox.run(
        storage.buildah(
            *command,
            "--quiet",
            "--retry",
            "2",
            "--retry-delay",
            "1s",
            "--authfile",
            authfile,
            "--digestfile",
            str(digestfile),
            name,
            f"docker://{reference}",
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


def _list(phase: Phase, storage: OwnerStorage, sandbox: Sandbox, images: Iterable[str]) -> str:
    """Make a manifest list in the storage; its name."""
    name = f"{storage.own_containers}-image"
    for step in (("create", name), *(("add", name, image_id) for image_id in images)):
        code, _, said = sandbox.capture(storage.buildah("manifest", *step), phase.deadline)
        if code:
            raise PhaseFailed("PublishFailed", f"the images cannot be joined: {said.strip()}")
    return name
