"""What a failed Git command means: from the lines that it and the server said to a known reason.

Of what a server did, and of the way to it, only commands that ask one tell: `git init` knows none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller.tasks.errors import PhaseFailed

_NODE = (
    # A server whose own disk is full says so too, behind `remote:`.
    (r"^(?!remote: ).*(?:No space left on device|Disk quota exceeded)", "OutOfDisk"),
    (r"^ssh cannot be run", "NodeNotPrepared"),  # askpass.py
)
# First match wins. https://github.com/git/git (remote-curl.c, transport.c), libcurl, sshd, and what
# GitHub ("ERROR: Repository not found."), GitLab ("The project you were looking for could not be
# found"), Bitbucket, Gitea and Azure ("repository … does not exist") say over SSH before Git's own
# "Could not read from remote repository", which would mean that there was no connection.
_SERVER = (
    (r"couldn't find remote ref|not our ref|no such ref|bad object", "GitRefNotFound"),
    (r"Host key verification failed|No .* host key is known", "GitHostKeyUnknown"),
    (
        r"certificate verification failed|server verification failed|SSL certificate problem"
        r"|certificate subject name|Problem with the SSL CA cert|error setting certificate",
        "GitServerNotTrusted",
    ),
    (
        r"Authentication failed|could not read (?:Username|Password)|terminal prompts disabled"
        r"|Permission denied \(|HTTP 40[13]|returned error: 40[13]|access denied",
        "GitAuthenticationFailed",
    ),
    (
        r"(?i)repository (?:.* )?not found|repository .*does not exist|cannot find repository"
        r"|project .*could not be found|does not appear to be a git repository"
        # Of a path that is not there, `git-upload-pack --strict` says this since Git 2.39.4.
        r"|detected dubious ownership in repository"
        r"|returned error: 404",
        "GitRepositoryNotFound",
    ),
    (
        r"Could not resolve host|Connection refused|timed out|Failed to connect|No route to host"
        r"|Operation too slow|Network is unreachable|Connection reset|Empty reply from server"
        r"|(?:HTTP|returned error:) (?:408|429|5\d\d)|RPC failed; curl \d"
        r"|gnutls_handshake\(\) failed|SSL_ERROR_SYSCALL"
        r"|early EOF|unexpected disconnect|remote end hung up"
        r"|Could not read from remote repository",
        "GitUnreachable",
    ),
)


def failure(command: str, said: Sequence[str], host: str = "") -> PhaseFailed:
    """Why `git COMMAND` failed, from what it said; `host` is the server's that it asked, if any."""
    for pattern, reason in (*_NODE, *(_SERVER if host else ())):
        for line in said:
            if re.search(pattern, line):
                message = line.removeprefix("fatal: ")
                if reason == "GitUnreachable" and host not in message:
                    message = f"{host}: {message}"
                return PhaseFailed(reason, message)
    return PhaseFailed(
        "GitFetchFailed", f"git {command}: {said[-1] if said else 'Git gave no message'}"
    )
