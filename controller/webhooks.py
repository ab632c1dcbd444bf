"""Webhooks: told once a build has ended, by whichever controller is there to do it.

    nomad-build-service/webhooks/pending/JOB_ID  to be sent: where to, how often it was tried, when
                                                 next; claimed for a while by who tries it now
    nomad-build-service/webhooks/done/JOB_ID     what became of it

The mark is written with the build's record, in one transaction, so that a controller that dies
after that loses nothing: another one finds the mark. A receiver may thus hear of a build twice,
always with the same X-Webhook-Id. What becomes of a webhook changes nothing in its build.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from controller import webhook_message
from controller.addresses import ForbiddenAddressError
from controller.build import Build
from controller.clients import consul
from controller.clients.consul import ConsulClient, Step
from controller.clients.receiver import Receiver, UnreachableError
from controller.clients.vault import VaultClient
from controller.concurrently import concurrently
from controller.contract.log_line import utc_now
from controller.errors import ServiceError, UnavailableError
from controller.history import History
from controller.metrics import Metrics
from controller.settings import Settings

log = logging.getLogger(__name__)
PENDING = "nomad-build-service/webhooks/pending/"
DONE = "nomad-build-service/webhooks/done/"
TRIES = 4
_GROWTH = 4.0  # each pause is so many times the one before
_CLAIM = 60.0  # seconds for which a try is its controller's own
_LONGEST = 600.0  # seconds that a receiver may ask us to wait
_AT_ONCE = 8
_LOOK = 15.0  # seconds between two looks for what other controllers left


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


class Webhooks:
    """Sends what is marked. Methods raise UnavailableError and RefusedError."""

    def __init__(
        self,
        settings: Settings,
        store: ConsulClient,
        vault: VaultClient | None,
        receiver: Receiver,
        history: History,
        metrics: Metrics,
    ) -> None:
        self._first_pause = settings.webhook_retry
        self._ours = settings.job_ids_begin
        self._consul = store
        self._vault = vault
        self._receiver = receiver
        self._history = history
        self._metrics = metrics
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is a new mark."""
        self._wake.set()

    async def state(self, job_id: str) -> dict[str, Any] | None:
        """What became of a build's webhook so far, or None where it has none."""
        if (done := await self._consul.value(DONE + job_id)) is not None:
            found: dict[str, Any] = json.loads(done)
            return found
        if (raw := await self._consul.value(PENDING + job_id)) is None:
            return None
        mark = Mark(**json.loads(raw))
        return {"state": "pending", "tries": mark.tries, "last_error": mark.last_error}

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            pause = _LOOK
            self._wake.clear()
            try:
                pause = min(pause, await self._once())
            except ServiceError as error:
                log.warning("webhooks cannot be sent now: %s", error.message)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _once(self) -> float:
        """Send what is due now; seconds until something else is."""
        marks = {
            job_id: (Mark(**json.loads(raw)), index)
            for job_id, (raw, index) in (await self._consul.entries(PENDING)).items()
            if job_id.startswith(self._ours)
        }
        now = time.time()
        due = [job_id for job_id, (mark, _) in marks.items() if mark.due <= now]
        await concurrently(_AT_ONCE, lambda job_id: self._claim(job_id, *marks[job_id]), due)
        later = [mark.due - now for mark, _ in marks.values() if mark.due > now]
        return max(0.0, min(later, default=_LOOK)) if not due else 0.0

    async def _claim(self, job_id: str, mark: Mark, index: int) -> None:
        mine = replace(mark, tries=mark.tries + 1, due=time.time() + _CLAIM)
        key = PENDING + job_id
        if not await self._consul.transaction(consul.replace(key, mine.encode(), index)):
            return  # another controller was faster
        try:
            error, again = await self._try(job_id, mine)
        except UnavailableError as unavailable:  # of ours, not of the receiver
            error, again = unavailable.message, 0.0
        host = mark.url.partition("://")[2].partition("/")[0] or "the URL in its secret"
        if not error:
            log.info("Webhook delivered successfully: %s to %s", job_id, host)
            await self._end(job_id, mine, "delivered", "")
        elif again < 0 or mine.tries >= TRIES:
            log.warning("webhook of %s was not delivered to %s: %s", job_id, host, error)
            await self._end(job_id, mine, "failed", error)
        else:
            wait = max(min(again, _LONGEST), self._first_pause * _GROWTH ** (mine.tries - 1))
            spread = random.uniform(1.0, 1.2)  # noqa: S311  not for secrecy
            next_try = replace(mine, due=time.time() + wait * spread, last_error=error)
            await self._consul.transaction(consul.put(key, next_try.encode()))

    async def _try(self, job_id: str, mark: Mark) -> tuple[str, float]:
        """One try: what went wrong (empty: nothing), and when to try again (negative: never)."""
        record = await self._history.get(job_id)
        if record is None:
            return "the build was cleaned up meanwhile", -1.0
        secret: Mapping[str, str] = {}
        if mark.secret_path:
            if self._vault is None:
                return "there is no Vault to read its secret from", -1.0
            if (read := await self._vault.webhook_secret(mark.secret_path)) is None:
                return "its secret cannot be read in Vault", -1.0
            secret = read
        url = mark.url or secret.get("url", "")
        if not url:
            return "neither the request nor its secret has a URL", -1.0
        content = webhook_message.body(record.build, record.tails, utc_now())
        headers = {
            **mark.headers,
            **webhook_message.headers(job_id, int(time.time()), content, secret.get("secret", "")),
        }
        if authorization := secret.get("authorization"):
            headers["Authorization"] = authorization
        try:
            answer = await self._receiver.post(url, content, headers)
        except ForbiddenAddressError as error:
            return error.message, -1.0
        except UnreachableError as error:
            return str(error), 0.0
        if answer.status < 300:
            return "", 0.0
        again = answer.retry_after if answer.status == 429 or answer.status >= 500 else -1.0
        return f"it answered {answer.status}", again

    async def _end(self, job_id: str, mark: Mark, state: str, error: str) -> None:
        self._metrics.webhooks.labels(state).inc()
        told = {"state": state, "tries": mark.tries, "last_error": error}
        await self._consul.transaction(
            consul.put(DONE + job_id, json.dumps(told).encode()), consul.delete(PENDING + job_id)
        )
