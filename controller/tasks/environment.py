"""What a task learns from Nomad: where it runs, for which build, and the pack's settings.

Nomad's runtime variables: https://developer.hashicorp.com/nomad/docs/reference/runtime-environment-settings
The `NBS_` variables are set by the pack's templates from its variables of nearly the same names.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.contract import job_id, payload

BUILDER_ID = "https://github.com/nomad-build-service/nomad-build-service"


@dataclass(frozen=True, slots=True)
class TaskEnvironment:
    """A task's surroundings. Paths are absolute; sizes are bytes; times are seconds."""

    alloc_id: str
    job_id: str
    task: str
    alloc_dir: Path
    task_dir: Path
    secrets_dir: Path
    storage_dir: Path
    buildah: str
    driver: str
    vault_addr: str
    vault_cacert: str
    vault_auth_mount: str
    vault_role: str
    vault_kv_mount: str
    pull_credentials_path: str
    cache_repository: str
    cache_credentials_path: str
    intermediate_repository: str
    intermediate_credentials_path: str
    intermediate_pull_credentials_path: str
    keep_failed: bool
    insecure_registries: tuple[str, ...]
    registry_stall_seconds: int
    git_stall_seconds: int
    publish_timeout: int
    provenance: bool
    sbom: bool
    syft: str
    signing_key: str
    builder_id: str
    git_protocols: tuple[str, ...]
    git_hosts: tuple[str, ...]
    git_known_hosts: str
    network_allow: tuple[str, ...]
    build_timeout: int
    test_timeout: int
    log_max_bytes: int
    cache_budget_bytes: int
    disk_floor_bytes: int
    meta: Mapping[str, str]

    @property
    def request_file(self) -> Path:
        """This task's own copy of the dispatch payload; absent where none was sent."""
        return self.task_dir / "request.json"

    def document(self) -> Any:
        """The JSON value that the job was dispatched with. Raises FileNotFoundError, FieldError."""
        return payload.unpack(payload.joined(self.request_file.read_bytes(), self.meta))

    @property
    def identity_file(self) -> Path:
        """The workload identity for Vault that Nomad writes for a task that has one.

        Once a task of an allocation has failed, Nomad issues no more of them: a poststop task would
        wait a minute and start without. Its default identity it has from the allocation itself.
        """
        return self.secrets_dir / ("nomad_token" if self.task == "keep" else "nomad_vault.jwt")

    def owner_dir(self, owner: str, platforms: Sequence[str] = ()) -> Path:
        """The storage of one owner: layers are shared between its builds, never across owners.

        Builds for `platforms` other than the node's have a storage of their own: a name stands for
        another image in it.
        """
        named = "\0".join((owner, *platforms))
        return self.storage_dir / hashlib.sha256(named.encode()).hexdigest()[:16]


def read(environ: Mapping[str, str] = os.environ) -> TaskEnvironment:
    """Read the environment of a Nomad task. Raises KeyError naming a variable that is missing."""
    namespace = environ.get("NOMAD_NAMESPACE", "default")
    return TaskEnvironment(
        alloc_id=environ["NOMAD_ALLOC_ID"],
        job_id=_job_id(namespace, environ["NOMAD_JOB_ID"]),
        task=environ["NOMAD_TASK_NAME"],
        alloc_dir=Path(environ["NOMAD_ALLOC_DIR"]),
        task_dir=Path(environ["NOMAD_TASK_DIR"]),
        secrets_dir=Path(environ["NOMAD_SECRETS_DIR"]),
        storage_dir=Path(environ["NBS_STORAGE_DIR"]),
        buildah=environ.get("NBS_BUILDAH", "buildah"),
        driver=environ.get("NBS_DRIVER", "raw_exec"),
        vault_addr=environ.get("NBS_VAULT_ADDR", ""),
        vault_cacert=environ.get("NBS_VAULT_CACERT", ""),
        vault_auth_mount=environ.get("NBS_VAULT_AUTH_MOUNT", "jwt-nomad"),
        vault_role=environ.get("NBS_VAULT_ROLE", ""),
        vault_kv_mount=environ.get("NBS_VAULT_KV_MOUNT", "secret"),
        pull_credentials_path=environ.get("NBS_PULL_CREDENTIALS_PATH", ""),
        cache_repository=environ.get("NBS_CACHE_REPOSITORY", ""),
        cache_credentials_path=environ.get("NBS_CACHE_CREDENTIALS_PATH", ""),
        intermediate_repository=environ.get("NBS_INTERMEDIATE_REPOSITORY", ""),
        intermediate_credentials_path=environ.get("NBS_INTERMEDIATE_CREDENTIALS_PATH", ""),
        intermediate_pull_credentials_path=environ.get(
            "NBS_INTERMEDIATE_PULL_CREDENTIALS_PATH", ""
        ),
        keep_failed=environ.get("NBS_KEEP_FAILED_IMAGES") == "true",
        insecure_registries=_words(environ.get("NBS_INSECURE_REGISTRIES", "")),
        registry_stall_seconds=int(environ.get("NBS_REGISTRY_STALL_TIMEOUT", "60")),
        git_stall_seconds=int(environ.get("NBS_GIT_STALL_TIMEOUT", "60")),
        publish_timeout=int(environ.get("NBS_PUBLISH_TIMEOUT", "900")),
        provenance=environ.get("NBS_PROVENANCE", "true") == "true",
        syft=environ.get("NBS_SYFT", ""),
        sbom=environ.get("NBS_SBOM", "true") == "true",
        signing_key=environ.get("NBS_SIGNING_KEY", ""),
        builder_id=environ.get("NBS_BUILDER_ID", "") or BUILDER_ID,
        git_protocols=_words(environ.get("NBS_GIT_PROTOCOLS", "https,ssh")),
        git_hosts=_words(environ.get("NBS_GIT_HOSTS", "")),
        git_known_hosts=environ.get("NBS_GIT_KNOWN_HOSTS", ""),
        network_allow=_words(environ.get("NBS_BUILD_NETWORK_ALLOW", "")),
        build_timeout=int(environ.get("NBS_BUILD_TIMEOUT", "1800")),
        test_timeout=int(environ.get("NBS_TEST_TIMEOUT", "600")),
        log_max_bytes=int(environ.get("NBS_LOG_MAX_BYTES", str(64 << 20))),
        cache_budget_bytes=int(environ.get("NBS_CACHE_BUDGET_MB", "20480")) << 20,
        disk_floor_bytes=int(environ.get("NBS_DISK_FLOOR_MB", "1024")) << 20,
        meta={
            key.removeprefix("NOMAD_META_"): value
            for key, value in environ.items()
            if key.startswith("NOMAD_META_") and value
        },
    )


def _job_id(namespace: str, nomad_job_id: str) -> str:
    try:
        return job_id.from_nomad(namespace, nomad_job_id).job_id
    except ValueError:  # image-prune is no dispatched job
        return nomad_job_id


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", text) if word)
