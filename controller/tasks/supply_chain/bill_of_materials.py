"""The bill of materials of an image (SPDX 2.3 in JSON), made by Syft where the node has it.

Reading package databases and archives that somebody else made is untrusted work. So Syft runs in a
container of the image itself, in the sandbox of the tests: no network, no capability, no file of
the node but its own program, and in phase `test`, which reads no credential. What it says is
bounded, and read by `publish` as what it is: the word of an untrusted file.

It never fails a build: without one, the log says why.
"""

from __future__ import annotations

import json
import os
from typing import Any

from controller.tasks.errors import DeadlinePassed, PhaseFailed
from controller.tasks.isolation.sandbox import Network, Sandbox, ulimits
from controller.tasks.node.storage import OwnerStorage
from controller.tasks.phase import Phase
from controller.tasks.process import Deadline
from controller.tasks.untrusted_files import directory, read_bytes, write_json

MEDIA_TYPE = "application/spdx+json"
PREDICATE = "https://spdx.dev/Document"
_MOST = 16 << 20  # bytes
_WITHIN = 180  # seconds, for all platforms
_PROGRAM, _OWN = "/.nbs-syft", "/.nbs-scan"
_ENV = {
    "HOME": _OWN,
    "TMPDIR": _OWN,
    "SYFT_CACHE_DIR": _OWN,
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
    "SYFT_FILE_METADATA_SELECTION": "none",
    "SYFT_FORMAT_PRETTY": "true",  # short lines, which the runner reads one by one
}
_LEFT_OUT = ("./proc/**", "./sys/**", "./dev/**", f".{_PROGRAM}", f".{_OWN}/**")


class _TooLargeError(Exception):
    """There is more than is kept."""


def make(phase: Phase, build: dict[str, Any]) -> None:
    """Scan the image of each platform that was built and leave the documents for `publish`."""
    environment = phase.environment
    if not environment.sbom:
        return
    if not os.access(environment.syft, os.X_OK):
        phase.log.say("no SBOM: this node has no Syft (scripts/node-setup --with-syft)")
        return
    storage = OwnerStorage(environment, phase.request)
    sandbox = Sandbox(storage.env(), driver=environment.driver)
    deadline = Deadline.after(_WITHIN, phase.deadline.guard)
    with storage.in_use():
        for platform, image_id in _images(build).items():
            which = f" for {platform}" if platform else ""
            try:
                document = _scan(phase, storage, sandbox, image_id, build["commit"], deadline)
            except DeadlinePassed:
                phase.log.say(f"no SBOM{which}: the scan took longer than {_WITHIN} s")
            except _TooLargeError:
                phase.log.say(f"no SBOM{which}: it has more than {_MOST >> 20} MB")
            except (ValueError, PhaseFailed) as error:  # among them: the disk's floor was reached
                phase.log.say(f"no SBOM{which}: {error}")
            else:
                with directory(environment.alloc_dir, "data", "nbs") as results:
                    write_json(results, _file(platform), document)
                phase.log.say(f"SBOM{which}: {len(document['packages'])} packages")
            finally:
                storage.remove_containers(sandbox)


def read(phase: Phase, build: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The documents that phase `test` left, by platform, `` where there is only one.

    Nobody vouches for what is in them.
    """
    found = {}
    for platform in _images(build):
        try:
            with directory(phase.environment.alloc_dir, "data", "nbs") as results:
                text = read_bytes(results, _file(platform), _MOST).decode("utf-8", "replace")
            found[platform] = _document(text)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            phase.log.say(f"no SBOM: {error}")
    return found


def _images(build: dict[str, Any]) -> dict[str, str]:
    return build.get("images") or {"": build["image_id"]}


def _file(platform: str) -> str:
    return "-".join(["sbom", *platform.split("/")] if platform else ["sbom"]) + ".json"


def _scan(
    phase: Phase,
    storage: OwnerStorage,
    sandbox: Sandbox,
    image_id: str,
    commit: str,
    deadline: Deadline,
) -> dict[str, Any]:
    name = f"nbs-sbom-{phase.environment.alloc_id}"
    code, _, said = sandbox.capture(
        storage.buildah(
            "from",
            "--pull-never",
            "--name",
            name,
            "--cap-drop",
            "all",
            "--http-proxy=false",
            "--cgroup-parent",
            storage.own_containers,
            *ulimits(processes=1024),
            image_id,
        ),
        deadline,
    )
    if code:
        raise ValueError(f"a container of the image cannot be made: {said.strip()}")
    lines: list[str] = []
    size = 0

    def on_line(stream: str, text: str) -> None:
        nonlocal size
        if stream != "stdout":
            phase.log.write(stream, text)
            return
        size += len(text) + 1
        if size > _MOST:
            raise _TooLargeError
        lines.append(text)

    options = [word for key, value in _ENV.items() for word in ("--env", f"{key}={value}")]
    excluded = [word for pattern in _LEFT_OUT for word in ("--exclude", pattern)]
    code = sandbox.run(
        storage.buildah(
            "run",
            "--isolation",
            "chroot",
            "--user",
            "0:0",
            "--workingdir",
            "/",
            "--volume",
            f"{phase.environment.syft}:{_PROGRAM}:ro",
            "--mount",
            f"type=tmpfs,destination={_OWN}",
            *options,
            name,
            "--",
            _PROGRAM,
            "scan",
            "dir:/",
            "--quiet",
            "--output",
            "spdx-json",
            "--override-default-catalogers",
            "image",
            "--source-name",
            phase.request["image"],
            "--source-version",
            commit,
            *excluded,
        ),
        on_line,
        deadline,
        network=Network.NONE,
    )
    if code:
        raise ValueError(f"syft ended with exit code {code}")
    return _document("\n".join(lines))


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict) or not str(found.get("spdxVersion")).startswith("SPDX-2."):
        raise ValueError("it is no SPDX document")
    if not isinstance(found.get("packages"), list):
        raise ValueError("it lists no packages")
    return found
