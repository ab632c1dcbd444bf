"""Git's names: the URL of a repository and the name of a ref, checked before Git sees them.

https://git-scm.com/docs/git-check-ref-format and https://git-scm.com/docs/git-fetch#_git_urls.
Local paths, `file:`, `git:` and remote-helper transports (`ext::…`) are refused: they read the
build node's files or run programs on it.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from controller.contract.field_error import FieldError, text_of

# RFC 3986, without '#' (Git has no use for a fragment) and '@' outside the authority.
_PATH = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(
    rf"(?P<scheme>https?|ssh)://(?:(?P<user>[^@/?#]*)@)?{_HOST}(?::[0-9]{{1,5}})?(?P<path>{_PATH})\Z"
)
_SCP = re.compile(rf"(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@{_HOST}:(?P<path>[A-Za-z0-9._~/+%-]+)\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_FIX = "write https://HOST/PATH, ssh://git@HOST/PATH or git@HOST:PATH"
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_READ_TWO_WAYS = re.compile(r"[%?#\\\x00-\x1f\x7f]")
_REF_FORBIDDEN = re.compile(r"[ ~^:?*\[\\]")


def url(value: Any) -> str:
    """The URL of a repository over HTTP or SSH, without credentials in it."""
    given = text_of(value)
    if scp := _SCP.match(given):
        if scp["path"].startswith("-"):
            raise FieldError("has a path that begins with a dash", _FIX)
        return given
    match = _URL.match(given)
    if not match:
        raise FieldError("is not the URL of a Git repository over HTTP or SSH", _FIX)
    user = match["user"]
    if user is not None and (match["scheme"] != "ssh" or ":" in user):
        raise FieldError(
            "holds credentials, which would be readable in the job and in logs",
            "take them out of the URL, store them in Vault and name the path in "
            "git_credentials_path",
        )
    if user is not None and not _USER.match(user):
        raise FieldError("has a malformed user name", _FIX)
    if not match["path"].strip("/"):
        raise FieldError("names a server but no repository", _FIX)
    return given


def ref(value: Any) -> str:
    """A branch, a tag, a full ref or a commit, as git-check-ref-format allows it."""
    name = text_of(value)
    fix = "write a branch, a tag, or a commit's hexadecimal ID"
    if not name:
        raise FieldError("is empty", fix)
    if name[0] in "-+":
        raise FieldError(f"begins with '{name[0]}', which Git would read as an option", fix)
    if _REF_FORBIDDEN.search(name) or not name.isprintable():
        raise FieldError("holds a blank, an invisible character or one of ~ ^ : ? * [ \\", fix)
    parts = name.split("/")
    if "" in parts or any(part.startswith(".") or part.endswith(".lock") for part in parts):
        raise FieldError("has an empty part, or one that begins with '.' or ends in '.lock'", fix)
    if ".." in name or "@{" in name or name == "@" or name.endswith("."):
        raise FieldError("holds '..' or '@{', or ends with '.'", fix)
    return name


def same_repository(given: str) -> str:
    """A form of a repository's URL in which two ways of writing it are equal.

    Scheme, user, the host's case, a last slash and `.git` are left out: `git@Host:team/app.git` and
    `https://host/team/app` are the same repository.
    """
    if "://" in given:
        authority, _, path = given.partition("://")[2].partition("/")
        host = authority.rpartition("@")[2]
    else:
        host, _, path = given.rpartition("@")[2].partition(":")
    return f"{host.lower()}/{path.strip('/').removesuffix('.git').rstrip('/')}"


def protocol(given: str) -> str:
    """The transport of a valid URL: https, http or ssh."""
    return given.partition("://")[0] if "://" in given else "ssh"


def host(given: str) -> str:
    """The host of a valid URL in small letters, with its port where that is not the usual one."""
    authority, _ = _parts(given)
    name, _, port = authority.rpartition(":")
    if not name or not port.isdecimal() or "://" not in given:
        return authority.lower()
    usual = int(port) == _PORTS[protocol(given)]
    return name.lower() if usual else f"{name.lower()}:{int(port)}"


def location(given: str) -> str | None:
    """Host and path of a valid URL, however it is written: `github.com/acme/app`.

    None for a path that could be read as another one: with empty parts, `.` or `..`, a query, or
    escapes that stand for anything of that. Clients and servers resolve these, each in its way.
    """
    _, path = _parts(given)
    if "%2f" in path.lower():
        return None
    try:
        path = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return None
    path = path.removesuffix("/").removesuffix(".git")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or _READ_TWO_WAYS.search(path):
        return None
    return f"{host(given)}/{path}"


def _parts(given: str) -> tuple[str, str]:
    """Authority without the user, and path."""
    if "://" in given:
        authority, _, path = given.partition("://")[2].partition("/")
        return authority.rpartition("@")[2], path
    rest = given.partition("@")[2]
    if rest.startswith("["):  # an IPv6 address has colons of its own
        name, _, path = rest.partition("]:")
        return f"{name}]", path.removeprefix("/")
    name, _, path = rest.partition(":")
    return name, path.removeprefix("/")
