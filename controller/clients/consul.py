"""Consul's HTTP API as this service uses it: keys and values, and whether it answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from controller.errors import RefusedError, UnavailableError

# Consul takes 512 KB for a value, and for the whole body of a transaction, where values are base64.
MAX_TRANSACTION_VALUES = 384_000  # bytes of values in one transaction
Step = Mapping[str, Any]


def create(key: str, value: bytes) -> Step:
    """A transaction's step: store a value; there must be none yet."""
    return {"Verb": "cas", "Key": key, "Value": base64.b64encode(value).decode(), "Index": 0}


def put(key: str, value: bytes) -> Step:
    """A transaction's step: store a value, whatever was there."""
    return {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()}


def delete(key: str) -> Step:
    """A transaction's step: remove a key, whether or not it is there."""
    return {"Verb": "delete", "Key": key}


def absent(key: str) -> Step:
    """A transaction's step: there must be no such key."""
    return {"Verb": "check-not-exists", "Key": key}


class ConsulClient:
    """One connection pool to Consul. Raises UnavailableError and RefusedError."""

    def __init__(self, address: str, token: str = "", timeout: float = 5.0) -> None:
        self.address = address if "://" in address else f"http://{address}"
        self._http = httpx.AsyncClient(
            base_url=self.address,
            timeout=timeout,
            trust_env=False,
            headers={"X-Consul-Token": token} if token else {},
        )

    async def close(self) -> None:
        """Close every connection."""
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
        response = await self._request("GET", f"/kv/{quote(prefix)}", params={"recurse": ""})
        found = [] if response.status_code == 404 else response.json()
        return {
            item["Key"].removeprefix(prefix): base64.b64decode(item["Value"] or b"")
            for item in found
            if item["Key"] != prefix
        }

    async def keys(self, prefix: str) -> list[str]:
        """Every key below a prefix."""
        response = await self._request("GET", f"/kv/{quote(prefix)}", params={"keys": ""})
        return [] if response.status_code == 404 else list(response.json())

    async def transaction(self, *steps: Step) -> bool:
        """Do every step or none; False where one did not hold (at most 128 steps)."""
        response = await self._request("PUT", "/txn", json=[{"KV": step} for step in steps])
        return response.status_code == 200

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
            response = await self._http.request(method, f"/v1{path}", params=params, json=json)
        except httpx.HTTPError as error:
            raise UnavailableError(
                "consul", f"{type(error).__name__} at {self.address}: {error}"
            ) from error
        if response.status_code in (401, 403):
            raise RefusedError(
                f"consul refuses this service: {response.text.strip()[:300]}",
                "give its token the rights on nomad-build-service/ in KV",
            )
        if response.status_code >= 400 and response.status_code not in (404, 409):
            raise UnavailableError(
                "consul", f"answered {response.status_code}: {response.text.strip()[:300]}"
            )
        return response
