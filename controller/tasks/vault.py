"""Credentials from Vault by workload identity, for as long as a phase needs them and no longer.

The task logs in by itself with the JWT that Nomad wrote (auth method `jwt`), reads KV version 2
secrets, revokes its token and deletes the JWT before the first line of untrusted code runs. Done
in the task and not by a `template`, so that a refused path is a precise failure at once instead of
a task that stays pending.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from types import TracebackType
from typing import Any

from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.process import within
from controller.tasks.redaction import Redactor

_TIMEOUT = 10  # seconds for one call
_SEALED = "Vault is sealed, or down for maintenance (HTTP 503)"


class VaultSession:
    """A login to Vault, as a context: entering costs nothing, the first read logs in.

    Leaving revokes the token and deletes the identity, whether or not it was used. Every value
    read is registered with `redactor` first.
    """

    def __init__(self, environment: TaskEnvironment, redactor: Redactor) -> None:
        self._environment = environment
        self._redactor = redactor
        self._token: str | None = None
        self._opener: urllib.request.OpenerDirector | None = None

    def __enter__(self) -> VaultSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Revoke the token and delete the identity, before the context is left."""
        self._environment.identity_file.unlink(missing_ok=True)
        if self._token:
            # Where this fails the token dies by its own short period; nobody else ever held it.
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self._call("POST", "auth/token/revoke-self", {})
            self._token = None

    def read(self, path: str, needed: tuple[tuple[str, ...], ...]) -> dict[str, str]:
        """The fields of the secret at `path` (`MOUNT/…`, with or without `data/`).

        `needed` lists alternatives: one of these groups of fields must be there. Raises PhaseFailed
        with SecretNotFound, SecretRefused, SecretIncomplete or VaultUnavailable.
        """
        mount = self._environment.vault_kv_mount
        below = path.strip("/").removeprefix(f"{mount}/").removeprefix("data/")
        try:
            if self._token is None:
                self._login()
            answer = self._call("GET", f"{mount}/data/{urllib.parse.quote(below)}")
        except urllib.error.HTTPError as error:
            raise _refusal(error.code, path) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PhaseFailed("VaultUnavailable", f"Vault did not answer: {error}") from error
        fields = {
            str(name): str(value)
            for name, value in ((answer.get("data") or {}).get("data") or {}).items()
            if value is not None
        }
        self._redactor.add(
            *(
                value
                for name, value in fields.items()
                if name not in ("username", "registry", "known_hosts")
            )
        )
        if not any(all(fields.get(name) for name in group) for group in needed):
            wanted = " or ".join(" and ".join(group) for group in needed)
            raise PhaseFailed("SecretIncomplete", f"the secret at {path} has no {wanted}")
        return fields

    def sign(self, key: str, content: bytes) -> bytes:
        """An ASN.1 signature over SHA-256 by a key of transit, `MOUNT/NAME`.

        Raises PhaseFailed with SecretNotFound, SecretRefused or VaultUnavailable.
        """
        mount, _, name = key.rpartition("/")
        path = f"{mount}/sign/{urllib.parse.quote(name)}/sha2-256"
        body = {
            "input": base64.b64encode(content).decode(),
            "marshaling_algorithm": "asn1",
        }
        try:
            if self._token is None:
                self._login()
            signature = str(self._call("POST", path, body)["data"]["signature"])
            return base64.b64decode(signature.rpartition(":")[2], validate=True)
        except urllib.error.HTTPError as error:
            if error.code == 400:  # transit's answer where there is no such key
                raise PhaseFailed(
                    "SecretNotFound", f"Vault has no signing key {key} of type ecdsa-p256"
                ) from error
            raise _refusal(error.code, path) from error
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            raise PhaseFailed("VaultUnavailable", f"Vault did not sign: {error}") from error

    def _login(self) -> None:
        environment = self._environment
        try:
            jwt = environment.identity_file.read_text().strip()
        except OSError as error:
            raise PhaseFailed(
                "VaultUnavailable", "this task has no workload identity for Vault"
            ) from error
        if not environment.vault_addr:
            raise PhaseFailed("VaultUnavailable", "the pack variable vault_addr is empty")
        self._redactor.add(jwt)
        try:
            answer = self._call(
                "POST",
                f"auth/{environment.vault_auth_mount}/login",
                {"role": environment.vault_role, "jwt": jwt},
            )
        except urllib.error.HTTPError as error:
            if (
                error.code == 503
            ):  # https://developer.hashicorp.com/vault/api-docs#http-status-codes
                raise PhaseFailed("VaultUnavailable", _SEALED) from error
            raise PhaseFailed(
                "VaultUnavailable",
                f"Vault refused the login of role {environment.vault_role} (HTTP {error.code})",
            ) from error
        self._token = str(answer["auth"]["client_token"])
        self._redactor.add(self._token)

    def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        headers = {"X-Vault-Request": "true"}
        if self._token:
            headers["X-Vault-Token"] = self._token
        request = urllib.request.Request(  # noqa: S310  the address is the operator's
            f"{self._environment.vault_addr.rstrip('/')}/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            method=method,
        )
        if self._opener is None:
            self._opener = _opener(self._environment.vault_cacert)
        with within(_TIMEOUT), self._opener.open(request, timeout=_TIMEOUT) as response:
            raw = response.read(1 << 20)
        return json.loads(raw) if raw else {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would send Vault's token to wherever a redirect points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(cacert: str) -> urllib.request.OpenerDirector:
    """No proxy: the agent's environment may name one, and credentials go to Vault only."""
    trust = ssl.create_default_context(cafile=cacert or None)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust), _NoRedirects
    )


def _refusal(code: int, path: str) -> PhaseFailed:
    if code == 404:
        return PhaseFailed("SecretNotFound", f"Vault has no secret at {path}")
    if code == 403:
        return PhaseFailed("SecretRefused", f"Vault refuses this phase to use {path}")
    if code == 503:
        return PhaseFailed("VaultUnavailable", _SEALED)
    return PhaseFailed("VaultUnavailable", f"Vault answered HTTP {code} for {path}")
