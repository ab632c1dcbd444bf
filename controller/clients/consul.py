"""Consul's HTTP API as this service uses it: keys and values, health, and finding a service."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from controller.errors import RefusedError, UnavailableError

MAX_VALUE = 512 * 1024  # bytes, Consul's own limit


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

    async def create(self, key: str, value: bytes) -> bool:
        """Store a value where there is none yet; False where there is one."""
        response = await self._request(
            "PUT", f"/kv/{quote(key)}", params={"cas": "0"}, content=value
        )
        return bool(response.json())

    async def service_address(self, name: str) -> str | None:
        """`HOST:PORT` of a healthy instance of a service, or None."""
        response = await self._request(
            "GET", f"/health/service/{quote(name)}", params={"passing": "true"}
        )
        for entry in response.json():
            service = entry["Service"]
            return f"{service['Address'] or entry['Node']['Address']}:{service['Port']}"
        return None

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        try:
            response = await self._http.request(
                method, f"/v1{path}", params=params, content=content
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                "consul", f"{type(error).__name__} at {self.address}: {error}"
            ) from error
        if response.status_code in (401, 403):
            raise RefusedError(
                f"consul refuses this service: {response.text.strip()[:300]}",
                "give its token the rights on nomad-build-service/ in KV",
            )
        if response.status_code >= 400 and response.status_code != 404:
            raise UnavailableError(
                "consul", f"answered {response.status_code}: {response.text.strip()[:300]}"
            )
        return response
