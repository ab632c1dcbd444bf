"""Task `source` of a check: does the ref exist, and would the Dockerfile get through?

Nothing of the repository is run. What it finds is this task's result, not its failure: it succeeds
whenever it could look. Fills `commit`, `dockerfile`, `findings`, and `problem` where the repository
or the Dockerfile could not be read at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from controller.contract.reasons import REASONS
from controller.contract.results import failure
from controller.tasks.build import GIT_SECRET, PULL_SECRET
from controller.tasks.context import source_tree
from controller.tasks.context.git import Repository
from controller.tasks.dockerfiles import dockerfile, stage_names
from controller.tasks.dockerfiles.lint import Finding, lint
from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation import run_mounts
from controller.tasks.isolation.platforms import NATIVE
from controller.tasks.node.storage import registries_env
from controller.tasks.phase import Phase
from controller.tasks.registries.registry import Registry, login
from controller.tasks.vault import VaultSession

_MOST_FILES = 20_000
_MOST_FINDINGS = 50
_MOST_IMAGES = 8


def work(phase: Phase) -> str:
    """Look at the source; what is wrong with it goes into the result."""
    try:
        checkout, pull = _fetch(phase)
        phase.fields["findings"] = _look(phase, checkout, pull)[:_MOST_FINDINGS]
    except PhaseFailed as error:
        phase.log.say(f"{error.reason}: {error.message}")
        phase.fields["problem"] = _failure(phase, error)
    return "succeeded"


def _failure(phase: Phase, error: PhaseFailed) -> dict[str, Any]:
    message = phase.redactor.redact(error.message)
    return failure("check", error.reason, message, **error.details)


def _fetch(phase: Phase) -> tuple[Path, dict[str, str]]:
    """The checkout, and the credential for base images."""
    request, checkout = phase.request, phase.environment.task_dir / "source"
    credential: dict[str, str] = {}
    pull: dict[str, str] = {}
    with VaultSession(phase.environment, phase.redactor) as vault:
        if request["git_credentials_path"]:
            credential = vault.read(request["git_credentials_path"], GIT_SECRET)
        if phase.environment.pull_credentials_path:
            pull = vault.read(phase.environment.pull_credentials_path, PULL_SECRET)
        try:
            run_mounts.read(vault, request["build_secrets"], request["build_ssh"])
        except PhaseFailed as error:
            phase.fields["secrets_problem"] = _failure(phase, error)
    repository = Repository(
        phase.environment, phase.log, phase.deadline, request["repo_url"], checkout, credential
    )
    phase.fields["commit"] = repository.fetch(
        request["git_ref"],
        submodules=request["submodules"],
        patch=request["patch"],
        with_large_files=False,  # a check shall be quick, and looks at no content
    )
    return checkout, pull


def _look(phase: Phase, checkout: Path, pull: dict[str, str]) -> list[dict[str, Any]]:
    request = phase.request
    context, content = source_tree.dockerfile(checkout, request)
    text = source_tree.text(stage_names.as_declared(content))
    platforms = request["platforms"] or [NATIVE]
    each = [
        dockerfile.parse(text, request["build_args"], request["target"], platform)
        for platform in platforms
    ]
    parsed = each[0]
    images = {image: line for one in reversed(each) for image, line in one.images.items()}
    phase.fields["dockerfile"] = {
        "path": request["dockerfile_path"],
        "stages": [stage.name or str(number) for number, stage in enumerate(parsed.stages)],
        "base_images": list(images),
        "lines": len(text.splitlines()),
    }
    ignored = source_tree.ignore_text(checkout, context, request["dockerfile_path"])
    # Of a huge tree only the rest is judged: every rule meets every file.
    files = _files(context)
    found = lint(parsed, request, files, ignored, _links(context, files)) if files else []
    return [asdict(one) for one in (*found, *_base_images(phase, images, pull))]


def _base_images(
    phase: Phase, images: Mapping[str, int], pull: dict[str, str]
) -> Iterator[Finding]:
    """Those that their registries do not give out; `images` with the lines that name them."""
    env = registries_env(phase.environment, phase.environment.task_dir / "home")
    with login(phase.environment.secrets_dir, pull) as authfile:
        registry = Registry(env, authfile, phase.log, phase.deadline)
        for image, line in islice(images.items(), _MOST_IMAGES):
            if failed := registry.unreachable(image):
                message = f"base image {image}: {failed.reason}: {failed.message}"
                yield Finding(
                    "error", line, phase.redactor.redact(message), REASONS[failed.reason].hint
                )


def _files(context: Path) -> set[str]:
    """Paths in the context; none where there are too many."""
    found: set[str] = set()
    for folder, folders, files in os.walk(context):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            found.add(Path(folder, name).relative_to(context).as_posix())
        if not files and not folders:
            found.add(f"{Path(folder).relative_to(context).as_posix()}/")
        if len(found) > _MOST_FILES:
            return set()
    return found


def _links(context: Path, files: set[str]) -> set[str]:
    """Those of the paths that are symbolic links."""
    return {file for file in files if (context / file).is_symlink()}
