"""Consul's HTTP API as this service uses it: keys and values, and whether it answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from controller.errors import RefusedError, ServiceError, UnavailableError
from controller.settings import Settings

# Consul takes 512 KB for a value, and for the whole body of a transaction, where values are base64.
MAX_TRANSACTION_VALUES = 384_000  # bytes of values in one transaction
Step = Mapping[str, Any]
_LOGIN_PAUSE = 5.0  # seconds between two logins, where Consul refuses what it gave a token for


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, and the index of its last change: what a change of it can be bound to."""

    value: bytes
    index: int


def create(key: str, value: bytes) -> Step:
    """A transaction's step: store a value; there must be none yet."""
    return {"Verb": "cas", "Key": key, "Value": base64.b64encode(value).decode(), "Index": 0}


def put(key: str, value: bytes) -> Step:
    """A transaction's step: store a value, whatever was there."""
    return {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()}


def unchanged(key: str, index: int) -> Step:
    """A transaction's step: the key must be there, and not have changed since `index`.

    A delete after it is what delete-cas is not: that succeeds where the key has gone, too.
    """
    return {"Verb": "check-index", "Key": key, "Index": index}


def delete(key: str) -> Step:
    """A transaction's step: remove a key, whether or not it is there."""
    return {"Verb": "delete", "Key": key}


def size(step: Step) -> int:
    """How much of MAX_TRANSACTION_VALUES a step takes, in bytes."""
    return len(step.get("Value", "")) * 3 // 4


def absent(key: str) -> Step:
    """A transaction's step: there must be no such key."""
    return {"Verb": "check-not-exists", "Key": key}


class ConsulClient:
    """One connection pool to Consul. Raises UnavailableError and RefusedError.

    Without a fixed token it logs in with the workload's identity: when it begins, and again when
    Consul no longer takes the token that it got. `timeout` is in seconds.
    """

    def __init__(self, settings: Settings, timeout: float = 5.0) -> None:
        address = settings.consul_addr
        self.address = address if "://" in address else f"http://{address}"
        self._token = settings.consul_token
        self._auth_method = settings.consul_auth_method
        identity = settings.consul_jwt_file if not settings.consul_token else ""
        self._identity = Path(identity) if identity else None
        self._logged_in = float("-inf")  # time.monotonic()
        self._no_login: ServiceError | None = None  # why there is no token
        self._login = asyncio.Lock()
        cacert = settings.consul_cacert
        self._http = httpx.AsyncClient(
            base_url=self.address,
            timeout=timeout,
            trust_env=False,
            verify=ssl.create_default_context(cafile=cacert) if cacert else True,
        )

    async def close(self) -> None:
        """Give the token of a login back, and close every connection."""
        if self._identity and self._token:
            with contextlib.suppress(httpx.HTTPError):  # it ends by its own time
                await self._http.post("/v1/acl/logout", headers=self._headers())
        await self._http.aclose()

    async def leader(self) -> str:
        """The address of the leader; empty while there is none."""
        return str((await self._request("GET", "/status/leader")).json())

    async def value(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        response = await self._request("GET", f"/kv/{quote(key)}", params={"raw": ""})
        return None if response.status_code == 404 else response.content

    async def values(self, prefix: str) -> dict[str, bytes]:
        """Every value below a prefix, by the rest of its key."""
        return {name: entry.value for name, entry in (await self.entries(prefix)).items()}

    async def entries(self, prefix: str) -> dict[str, Entry]:
        """Every value below a prefix with its index, by the rest of its key."""
        response = await self._request("GET", f"/kv/{quote(prefix)}", params={"recurse": ""})
        found = [] if response.status_code == 404 else response.json()
        return {
            item["Key"].removeprefix(prefix): Entry(
                base64.b64decode(item["Value"] or b""), int(item["ModifyIndex"])
            )
            for item in found
            if item["Key"] != prefix
        }

    async def change(self, key: str, value: bytes, index: int) -> int | None:
        """Replace a value that has not changed since `index`; its new index, or None if it has."""
        encoded = base64.b64encode(value).decode()
        step = {"Verb": "cas", "Key": key, "Value": encoded, "Index": index}
        response = await self._request("PUT", "/txn", json=[{"KV": step}])
        if response.status_code != 200:
            return None
        return int(response.json()["Results"][0]["KV"]["ModifyIndex"])

    async def keys(self, prefix: str) -> list[str]:
        """Every key below a prefix."""
        response = await self._request("GET", f"/kv/{quote(prefix)}", params={"keys": ""})
        return [] if response.status_code == 404 else list(response.json())

    async def transaction(self, *steps: Step) -> bool:
        """Do every step or none; False where one did not hold (at most 128 steps)."""
        response = await self._request("PUT", "/txn", json=[{"KV": step} for step in steps])
        return response.status_code == 200

    async def take(self, key: str) -> bytes | None:
        """The value of a key, which only this call gets: it removes the key. Else None."""
        response = await self._request("GET", f"/kv/{quote(key)}")
        if response.status_code == 404:
            return None
        found = response.json()[0]
        first = await self.transaction(unchanged(key, found["ModifyIndex"]), delete(key))
        return base64.b64decode(found["Value"] or b"") if first else None

    async def delete(self, key: str) -> None:
        """Remove a key, whether or not it is there."""
        await self._request("DELETE", f"/kv/{quote(key)}")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Sequence[Any] | None = None,
    ) -> httpx.Response:
        try:
            if self._identity and not self._token:
                await self._log_in(self._token)
            token = self._token
            response = await self._ask(method, path, params, json)
            if _refused(response) and await self._log_in(token):
                response = await self._ask(method, path, params, json)
        except (httpx.HTTPError, OSError) as error:  # what TLS refuses late is an SSLError
            raise UnavailableError(
                "consul", f"{type(error).__name__} at {self.address}: {error}"
            ) from error
        if _refused(response):
            raise RefusedError(
                f"consul refuses this service: {response.text.strip()[:300]}",
                "give its identity the rights on nomad-build-service/ in KV: scripts/access-setup",
            )
        if response.status_code >= 400 and response.status_code not in (404, 409):
            raise UnavailableError(
                "consul", f"answered {response.status_code}: {response.text.strip()[:300]}"
            )
        return response

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        json: Sequence[Any] | None,
    ) -> httpx.Response:
        return await self._http.request(
            method, f"/v1{path}", params=params, json=json, headers=self._headers()
        )

    async def _log_in(self, refused: str) -> bool:
        """Get a token in place of the `refused` one; whether there is another now."""
        async with self._login:
            if self._token != refused:
                return True  # another call was faster
            if self._identity is None:
                return False
            if time.monotonic() < self._logged_in + _LOGIN_PAUSE:
                # Without a token Consul shows nothing, as if there were nothing: never go on so.
                if self._no_login and not self._token:
                    raise self._no_login
                return False
            self._logged_in = time.monotonic()
            self._no_login = UnavailableError("consul", "the login did not end well")
            answer = await self._http.post(
                "/v1/acl/login",
                json={"AuthMethod": self._auth_method, "BearerToken": self._read_identity()},
            )
            self._no_login = None
            if answer.status_code == 200:
                self._token = str(answer.json()["SecretID"])
                return True
            if "ACL support disabled" in answer.text:
                return False  # then nobody asks for a token
            self._token = ""
            self._no_login = RefusedError(
                f"consul refuses the login of this service: {answer.text.strip()[:300]}",
                f"set up its auth method {self._auth_method}: scripts/access-setup",
            )
            raise self._no_login

    def _read_identity(self) -> str:
        assert self._identity is not None  # noqa: S101  who logs in has one
        try:
            return self._identity.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UnavailableError("consul", f"no identity to log in with: {error}") from error

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self._token} if self._token else {}


def _refused(response: httpx.Response) -> bool:
    """Whether rights are lacking. Of a transaction Consul says so with 409, as of a lost race."""
    return response.status_code in (401, 403) or (
        response.status_code == 409 and "ermission denied" in response.text
    )
