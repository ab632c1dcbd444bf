"""Task `push` of a check: may the credential push to the repository? Nothing is left there.

An upload is begun, as every push begins, and cancelled: registries ask for the right to push at
that point (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push).
Fills `problem` where it may not.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any

from controller.contract.results import failure
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.phase import Phase
from controller.tasks.process import within
from controller.tasks.registry import host_of
from controller.tasks.vault import VaultSession

_SECRET = (("username", "password"),)
_TIMEOUT = 10  # seconds for one call
_MOST = 1 << 20  # bytes of a token service's answer
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


def work(phase: Phase) -> str:
    """Try; what is wrong goes into the result."""
    repository = phase.request["image"]
    credential: dict[str, str] = {}
    try:
        with VaultSession(phase.environment, phase.redactor) as vault:
            if phase.request["registry_credentials_path"]:
                credential = vault.read(phase.request["registry_credentials_path"], _SECRET)
        _Upload(phase.environment, repository, credential).begin_and_cancel()
        phase.log.say(f"pushing to {repository} is allowed")
    except PhaseFailed as error:
        phase.log.say(f"{error.reason}: {error.message}")
        phase.fields["problem"] = failure(
            "check", error.reason, phase.redactor.redact(error.message), **error.details
        )
    return "succeeded"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A credential goes to the registry that was named, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class _Upload:
    def __init__(
        self, environment: TaskEnvironment, repository: str, credential: Mapping[str, str]
    ) -> None:
        host = host_of(repository)
        scheme = "http" if host in environment.insecure_registries else "https"
        self._repository = repository
        self._base = f"{scheme}://{_HUB.get(host, host)}"
        self._path = urllib.parse.quote(repository.partition("/")[2])
        self._basic = ""
        if credential:
            pair = f"{credential['username']}:{credential['password']}"
            self._basic = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def begin_and_cancel(self) -> None:
        """Raises PhaseFailed where the registry does not begin an upload."""
        url = f"{self._base}/v2/{self._path}/blobs/uploads/"
        status, headers = self._call("POST", url, "")
        authorization = ""
        if status == 401:
            authorization = self._authorization(headers.get("WWW-Authenticate", ""))
            status, headers = self._call("POST", url, authorization)
        if status == 202:
            where = urllib.parse.urljoin(url, headers.get("Location", ""))
            if where.startswith(f"{self._base}/") and where != url:
                self._call("DELETE", where, authorization)  # else it expires by itself
            return
        raise self._refused(status)

    def _authorization(self, challenge: str) -> str:
        """What the registry wants: the credential itself, or a token for it (Bearer)."""
        if not challenge.lower().startswith("bearer"):
            return self._basic
        told = dict(_PARAMETER.findall(challenge))
        query = urllib.parse.urlencode(
            {
                "service": told.get("service", ""),
                "scope": f"repository:{urllib.parse.unquote(self._path)}:pull,push",
            }
        )
        realm = told.get("realm", "")
        if not realm.startswith(("https://", f"{self._base}/")):
            raise PhaseFailed("RegistryUnavailable", f"the registry's token service is {realm!r}")
        request = urllib.request.Request(f"{realm}{'&' if '?' in realm else '?'}{query}")  # noqa: S310  checked above
        if self._basic:
            request.add_header("Authorization", self._basic)
        try:
            with within(_TIMEOUT), _OPENER.open(request, timeout=_TIMEOUT) as answer:
                found = json.loads(answer.read(_MOST))
            if not isinstance(found, dict):
                raise ValueError("the token service's answer is no object")
        except urllib.error.HTTPError as error:
            raise self._refused(error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._away(error) from error
        return f"Bearer {found.get('token') or found.get('access_token') or ''}"

    def _call(self, method: str, url: str, authorization: str) -> tuple[int, Message]:
        request = urllib.request.Request(url, method=method)  # noqa: S310  of a checked registry
        request.add_header("Content-Length", "0")
        if authorization:
            request.add_header("Authorization", authorization)
        try:
            with within(_TIMEOUT), _OPENER.open(request, timeout=_TIMEOUT) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers
        except (OSError, http.client.HTTPException) as error:
            raise self._away(error) from error

    def _refused(self, status: int) -> PhaseFailed:
        if status in (401, 403):
            who = "this credential" if self._basic else "a caller without credential"
            return PhaseFailed(
                "RegistryAuthenticationFailed",
                f"the registry does not let {who} push to {self._repository} ({status})",
            )
        return PhaseFailed(
            "RegistryUnavailable", f"the registry answered {status} to a push to {self._repository}"
        )

    def _away(self, error: Exception) -> PhaseFailed:
        reason = getattr(error, "reason", None) or error
        return PhaseFailed("RegistryUnavailable", f"{self._base}: {reason}")
