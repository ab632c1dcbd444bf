"""How Git gets a credential: it calls the runner, which answers from a private file.

Git and git-lfs run `GIT_ASKPASS "Password for 'https://user@host': "` and `GIT_SSH [options] host
command`. Both are the runner's own executable, which knows by the variable `NBS_ASKPASS`, the
name of a JSON file of mode 0600, that it is asked. No shell is involved and no value is in argv
or environment.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path


def write_answers(
    directory: Path, *, host: str, credential: dict[str, str], known_hosts: str
) -> Path:
    """Write what the callbacks need below a private directory; the path of the answers."""
    ssh = [
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "ConnectTimeout=20",
        "-o",
        "ServerAliveInterval=15",
        "-o",
        "PermitLocalCommand=no",
        "-o",
        "ForwardAgent=no",
        "-o",
        "ProxyCommand=none",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
    ]
    hosts = _private(directory / "known_hosts", known_hosts.rstrip("\n") + "\n")
    ssh += ["-o", f"UserKnownHostsFile={hosts}"]
    if credential.get("ssh_key"):
        key = _private(directory / "key", credential["ssh_key"].rstrip("\n") + "\n")
        ssh += ["-i", str(key)]
    else:
        ssh += ["-o", "IdentityAgent=none", "-i", "/dev/null"]
    answers = {
        "host": host,
        "ssh": ssh,
        "username": credential.get("username", ""),
        "password": credential.get("password", ""),
    }
    return _private(directory / "answers.json", json.dumps(answers))


def answer(answers_file: str, arguments: Sequence[str]) -> int:
    """Serve one callback of Git's. For SSH the process becomes ssh, if the node has it."""
    answers = json.loads(Path(answers_file).read_text())
    prompt = re.match(r"(Username|Password) for ['\"](?P<url>[^'\"]*)['\"]", arguments[0])
    if len(arguments) != 1 or not prompt:
        try:
            os.execvp("ssh", ["ssh", *answers["ssh"], *arguments])  # noqa: S606  no shell, the point
        except OSError as error:
            sys.stderr.write(f"ssh cannot be run: {error}\n")
            return 127
    asked_host = prompt["url"].partition("://")[2].rpartition("@")[2].partition("/")[0]
    field = prompt[1].lower()
    if asked_host != answers["host"] or not answers[field]:
        return 1  # a submodule on another host gets no password of this one
    sys.stdout.write(answers[field] + "\n")
    return 0


def _private(path: Path, content: str) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(content)
    return path
