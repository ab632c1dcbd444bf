"""What is kept of a webhook in Consul KV, until it was sent and afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controller import webhook_message
from controller.build import Build
from controller.clients import consul
from controller.clients.consul import Step

PENDING = "nomad-build-service/webhooks/pending/"
DONE = "nomad-build-service/webhooks/done/"


@dataclass(frozen=True, slots=True)
class Mark:
    """A webhook to be sent. Times are in seconds since 1970."""

    url: str
    headers: Mapping[str, str]
    secret_path: str
    tries: int = 0
    due: float = 0.0
    last_error: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Mark:
        """The first mark of a build that was asked for with this request."""
        return cls(
            config.get("webhook_url") or "",
            config.get("webhook_headers") or {},
            config.get("webhook_secret") or "",
        )

    def encode(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()


def pending(build: Build, config: Mapping[str, Any] | None) -> list[Step]:
    """The steps that store a build's webhook with its record; none where it wants none."""
    if config is None or not webhook_message.wanted(config, build.status):
        return []
    return [consul.put(PENDING + build.job_id, Mark.of(config).encode())]


def removal(job_id: str) -> list[Step]:
    """The steps that remove what is kept of a build's webhook."""
    return [consul.delete(PENDING + job_id), consul.delete(DONE + job_id)]
