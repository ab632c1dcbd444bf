"""Vault as this service uses it: does a secret exist? Values only of what signs webhooks.

hvac blocks, so it runs in worker threads; it is imported with the first call, because most of the
controller's life needs it not. The token comes from a login with the workload's identity and is
replaced before it ends, or when Vault refuses it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from controller.errors import UnavailableError
from controller.recent import Recent
from controller.settings import Settings

_TIMEOUT = 5  # seconds for one answer of Vault
_LOGIN_PAUSE = 10.0  # seconds between two logins because of a refusal
_RENEW_AT = 2 / 3  # of a token's life
# Seconds. Asking costs as much as all the rest of a submission, and the same secrets come again
# and again; one removed meanwhile fails the build, which reads it itself.
_SEEN_FOR = 30.0


class Found(Enum):
    """Vault's answer about a path."""

    YES = "yes"
    NO = "no"
    REFUSED = "refused"


class VaultClient:
    """KV version 2 secrets: their metadata, and webhooks' keys. Methods raise UnavailableError."""

    def __init__(self, settings: Settings) -> None:
        self.address = settings.vault_addr
        self.mount = settings.vault_kv_mount
        self._auth_mount = settings.vault_auth_mount
        self._role = settings.vault_role
        self._jwt_file = settings.vault_jwt_file
        self._fixed_token = settings.vault_token
        self._cacert = settings.vault_cacert
        self._client: Any = None
        self._expires = 0.0  # time.monotonic()
        self._login_at = float("-inf")
        self._lock = Lock()
        self._seen: Recent[float] = Recent()  # time.monotonic() by path
        self._http = httpx.AsyncClient(
            timeout=_TIMEOUT,
            trust_env=False,
            verify=ssl.create_default_context(cafile=self._cacert) if self._cacert else True,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def exists(self, path: str) -> Found:
        """Whether there is a secret at a path below the mount, or was a moment ago."""
        seen = self._seen.get(path)
        if seen is not None and time.monotonic() < seen + _SEEN_FOR:
            return Found.YES
        found = await asyncio.to_thread(self._exists, path)
        if found is Found.YES:
            self._seen.put(path, time.monotonic())
        return found

    async def webhook(self, name: str) -> dict[str, Any] | Found:
        """The fields of a secret below `nomad-build-service/webhook/`, or why there are none.

        Nothing of it is kept here, and callers must not keep or log it either.
        """
        return await asyncio.to_thread(self._webhook, f"nomad-build-service/webhook/{name}")

    async def sealed(self) -> bool:
        """Whether Vault is sealed.

        Asked without hvac, which costs 15 MB of memory that a controller without private builds
        never needs.
        """
        try:
            answer = await self._http.get(f"{self.address}/v1/sys/seal-status")
            return bool(answer.raise_for_status().json()["sealed"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._down(error) from error

    def _exists(self, path: str) -> Found:
        found = self._read("read_secret_metadata", path)
        return found if isinstance(found, Found) else Found.YES

    def _webhook(self, path: str) -> dict[str, Any] | Found:
        found = self._read("read_secret_version", path)
        return found if isinstance(found, Found) else dict(found["data"]["data"] or {})

    def _read(self, method: str, path: str) -> dict[str, Any] | Found:
        import hvac.exceptions
        import requests

        for last in (False, True):
            try:
                read = getattr(self._logged_in(again=last).secrets.kv.v2, method)
                options = {"raise_on_deleted_version": True} if "version" in method else {}
                return dict(read(path=path, mount_point=self.mount, **options))
            except hvac.exceptions.InvalidPath:
                return Found.NO
            except hvac.exceptions.Forbidden:
                continue  # the token may have been revoked: log in again, once
            except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
                raise self._down(error) from error
        return Found.REFUSED

    def _logged_in(self, *, again: bool) -> Any:
        with self._lock:
            # A path that is refused is no reason to log in for each call: each login is a lease.
            again = again and time.monotonic() > self._login_at + _LOGIN_PAUSE
            if self._client is None or again or time.monotonic() >= self._expires:
                self._login_at = time.monotonic()
                client = self._new_client()
                self._expires = self._login(client)
                self._client = client
            return self._client

    def _login(self, client: Any) -> float:
        """Log in; when the token is to be replaced, on the monotonic clock."""
        if not self._jwt_file:
            client.token = self._fixed_token
            return float("inf")
        jwt = Path(self._jwt_file).read_text(encoding="utf-8").strip()
        answer = client.auth.jwt.jwt_login(role=self._role, jwt=jwt, path=self._auth_mount)
        return time.monotonic() + float(answer["auth"]["lease_duration"]) * _RENEW_AT

    def _new_client(self) -> Any:
        import hvac

        return hvac.Client(
            url=self.address, timeout=_TIMEOUT, token="", verify=self._cacert or True
        )

    def _down(self, error: Exception) -> UnavailableError:
        return UnavailableError("vault", f"{type(error).__name__} at {self.address}: {error}")
