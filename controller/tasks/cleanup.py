"""Task `cleanup`: remove the intermediate images of builds from the registry.

The request, as dispatch payload:

    {"job_ids": ["default.image-build.…"], "dry_run": false}

Only images of the pack's `intermediate_repository` can be named this way: whoever may dispatch this
job cannot make it delete anything else.

A registry deletes manifests by digest, and with one all its tags. Two builds of the same source may
have the same digest: such an image stays until its last build is cleaned up.
"""

from __future__ import annotations

from typing import Any

from controller.contract import image_names, job_id
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.node.storage import registries_env
from controller.tasks.phase import Phase
from controller.tasks.registries.registry import Registry, host_of, login
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)
_MOST = 1000  # builds in one request


def read(environment: TaskEnvironment) -> dict[str, Any]:
    """The request. Raises PhaseFailed(InvalidRequest)."""
    try:
        given = environment.document()
        job_ids = [job_id.parse(text).job_id for text in given["job_ids"]]
        dry_run = bool(given.get("dry_run"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhaseFailed(
            "InvalidRequest", f'the payload is not {{"job_ids": [...]}}: {error}'
        ) from error
    if len(job_ids) > _MOST:
        raise PhaseFailed("InvalidRequest", f"more than {_MOST} job_ids")
    return {"job_ids": job_ids, "dry_run": dry_run}


def work(phase: Phase) -> str:
    """Fills `fates`: of each build whether its image it is removed, absent or kept, and why."""
    repository = phase.environment.intermediate_repository
    if not repository:
        raise PhaseFailed("InvalidRequest", "the pack variable intermediate_repository is empty")
    credential: dict[str, str] = {}
    with VaultSession(phase.environment, phase.redactor) as vault:
        if path := phase.environment.intermediate_credentials_path:
            credential = vault.read(path, _SECRET) | {"registry": host_of(repository)}
    env = registries_env(phase.environment, phase.environment.task_dir / "home")
    wanted = {image_names.intermediate(repository, one): one for one in phase.request["job_ids"]}
    with login(phase.environment.secrets_dir, credential) as authfile:
        registry = Registry(env, authfile, phase.log, phase.deadline)
        phase.fields["fates"] = [
            {"job_id": wanted[reference], "reference": reference, **fate}
            for reference, fate in _remove(phase, registry, repository, set(wanted)).items()
        ]
    return "succeeded"


def _remove(
    phase: Phase, registry: Registry, repository: str, wanted: set[str]
) -> dict[str, dict[str, Any]]:
    there = {f"{repository}:{tag}" for tag in registry.tags(repository)}
    fates: dict[str, dict[str, Any]] = {
        reference: {"status": "absent"} for reference in sorted(wanted)
    }
    if not there & wanted:
        return fates
    references: dict[str, set[str]] = {}
    for reference in there:
        references.setdefault(registry.digest(reference), set()).add(reference)
    for digest, same in references.items():
        ours = same & wanted
        why = ""
        if ours and same - wanted:
            why = f"it is also the image of another build: {min(same - wanted)}"
        elif ours and not phase.request["dry_run"]:
            why = registry.delete(f"{repository}@{digest}")
        for reference in ours:
            fates[reference] = {"status": "kept" if why else "removed", "digest": digest}
            if why:
                fates[reference]["why"] = why
            phase.log.say(f"{fates[reference]['status']} {reference}@{digest} {why}".rstrip())
    if not phase.request["dry_run"]:
        for tag in registry.tags(repository):
            if fates.get(f"{repository}:{tag}", {}).get("status") == "removed":
                fates[f"{repository}:{tag}"] |= {
                    "status": "kept",
                    "why": "the registry took the deletion but still lists the tag",
                }
    return fates
