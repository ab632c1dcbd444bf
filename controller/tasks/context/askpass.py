"""How Git gets a credential: it calls the runner, which answers from a private file.

Git and git-lfs run `GIT_ASKPASS "Password for 'https://user@host': "` and `GIT_SSH [options] host
command`. Both are the runner's own executable, which knows by the variable `NBS_ASKPASS`, the
name of a file of mode 0600, that it is asked. No shell is involved and no value is in argv or
environment. A fetch waits for two answers, so this imports next to nothing.
"""

from __future__ import annotations

import os
import sys

from controller.tasks.errors import PhaseFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_answers(
    directory: Path, *, host: str, credential: dict[str, str], known_hosts: str
) -> Path:
    """Write what the callbacks need below a private directory; the path of the answers.

    Raises PhaseFailed(SecretIncomplete) for a credential that no Git server can have given out.
    """
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
    fields = (host, credential.get("username", ""), credential.get("password", ""), *ssh)
    if any("\0" in field for field in fields):  # it would pass for an option of ssh
        raise PhaseFailed("SecretIncomplete", "the Git credential has a NUL character in it")
    return _private(directory / "answers", "\0".join(fields))


def answer(answers_file: str, arguments: Sequence[str]) -> int:
    """Serve one callback of Git's. For SSH the process becomes ssh, if the node has it."""
    with open(answers_file, encoding="utf-8") as file:  # noqa: PTH123  pathlib takes too long
        host, username, password, *ssh = file.read().split("\0")
    asked, _, url = arguments[0].partition(" for ")
    if len(arguments) != 1 or asked not in ("Username", "Password") or url[:1] not in ("'", '"'):
        try:
            os.execvp("ssh", ["ssh", *ssh, *arguments])  # noqa: S606  no shell is the point
        except OSError as error:
            sys.stderr.write(f"ssh cannot be run: {error}\n")
            return 127
    server = url[1:].partition(url[0])[0].partition("://")[2].partition("/")[0]
    value = username if asked == "Username" else password
    if server.rpartition("@")[2] != host or not value:
        return 1  # a submodule on another host gets no password of this one
    sys.stdout.write(value + "\n")
    return 0


def _private(path: Path, content: str) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(content)
    return path
