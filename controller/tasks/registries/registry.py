"""An OCI registry as a phase uses it: log in for a moment, copy, read a digest back.

skopeo speaks the protocol, token flows included; it never sees a credential in its arguments.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import diagnosis
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline, Program, run
from controller.tasks.registries.tries import passing

_NO_REPOSITORY = re.compile(
    r"name unknown|repository name not known|NAME_UNKNOWN|status code (?:from registry )?404"
)


def host_of(repository: str) -> str:
    """The registry of a repository name such as `registry.example:5000/team/app`."""
    return repository.partition("/")[0]


@contextmanager
def login(directory: Path, *credentials: Mapping[str, str]) -> Iterator[Path]:
    """A login file of mode 0600 (containers-auth.json(5)) that exists inside the context only.

    Each credential has `registry`, `username` and `password`; empty ones are left out.
    """
    auths = {
        credential["registry"]: {
            "auth": base64.b64encode(
                f"{credential['username']}:{credential['password']}".encode()
            ).decode()
        }
        for credential in credentials
        if credential
    }
    path = directory / "registry-auth.json"
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            json.dump({"auths": auths}, file)
        yield path
    finally:
        path.unlink(missing_ok=True)


class Registry:
    """skopeo with a login, for one phase."""

    def __init__(
        self, env: Mapping[str, str], authfile: Path, log: PhaseLog, deadline: Deadline
    ) -> None:
        self._env = env
        self._authfile = str(authfile)
        self._log = log
        self._deadline = deadline

    def copy(self, source: str, destination: str) -> None:
        """Copy by reference between registries, the digest unchanged. Raises PhaseFailed, which
        is Transient where it may pass.
        """
        said: list[str] = []
        code = run(
            [
                "skopeo",
                "copy",
                "--quiet",
                "--all",
                "--preserve-digests",
                "--authfile",
                self._authfile,
                f"docker://{source}",
                f"docker://{destination}",
            ],
            lambda stream, text: said.append(self._log.write(stream, text)),
            self._deadline,
            env=self._env,
        )
        if code:
            raise passing(diagnosis.push_failure(destination, said))

    def digest(self, reference: str) -> str:
        """The digest of the manifest that the registry serves, computed here. Raises PhaseFailed.

        The manifest's bytes decide and not a header, which the registry could fill in as it likes.
        """
        raw, complaint = self._inspect(reference, "--raw")
        if complaint is not None:
            raise diagnosis.push_failure(reference, complaint)
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    def labels(self, repository: str, digest: str) -> dict[str, Any]:
        """The labels of an image; of a list of images, those of all of them together."""
        reference = f"{repository}@{digest}"
        listed = self._document(reference, "--raw").get("manifests")
        if listed is None:
            config = self._document(reference, "--config").get("config") or {}
            return dict(config.get("Labels") or {})
        found: dict[str, Any] = {}
        for one in listed:
            found |= self.labels(repository, one["digest"])
        return found

    def _document(self, reference: str, what: str) -> dict[str, Any]:
        raw, complaint = self._inspect(reference, what)
        if complaint is not None:
            raise diagnosis.push_failure(reference, complaint)
        return dict(json.loads(raw))

    def _inspect(self, reference: str, what: str) -> tuple[bytes, list[str] | None]:
        """What skopeo shows of a reference, and what it says instead where it cannot."""
        said: list[str] = []
        program = Program(
            ["skopeo", "inspect", what, "--authfile", self._authfile, f"docker://{reference}"],
            env=self._env,
        )
        raw, code = program.read_all(said.append, self._deadline)
        return raw, said if code else None

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where it does not exist. Raises PhaseFailed."""
        lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        program = Program(
            ["skopeo", "list-tags", "--authfile", self._authfile, f"docker://{repository}"],
            env=self._env,
        )
        raw, code = program.read_all(lambda text: lines["stderr"].append(text), self._deadline)
        if not code:
            return [str(tag) for tag in json.loads(raw).get("Tags") or []]
        if _NO_REPOSITORY.search("\n".join(lines["stderr"])):
            return []
        raise diagnosis.push_failure(repository, lines["stderr"])

    def delete(self, reference: str) -> str:
        """Delete a manifest by digest; empty, or why the registry did not."""
        said: list[str] = []
        code = run(
            ["skopeo", "delete", "--authfile", self._authfile, f"docker://{reference}"],
            lambda stream, text: said.append(self._log.write(stream, text)),
            self._deadline,
            env=self._env,
        )
        return diagnosis.push_failure(reference, said).message if code else ""

    def unreachable(self, image: str) -> PhaseFailed | None:
        """Why an image's manifest cannot be had from its registry; None where it can."""
        _, complaint = self._inspect(image, "--raw")
        return None if complaint is None else diagnosis.pull_failure(image, complaint)

    def verify(self, reference: str, digest: str) -> None:
        """Check that a tag names `digest` in the registry. Raises PhaseFailed(DigestMismatch)."""
        found = self.digest(reference)
        if found != digest:
            raise PhaseFailed(
                "DigestMismatch", f"{reference} is {found} in the registry, wanted is {digest}"
            )
