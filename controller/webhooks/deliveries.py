"""Delivers webhooks: looks at the marks, takes those that are due, and tries.

At least once: a receiver that was called by a controller which then died is called again, with the
same id. Never is a build's result changed by what becomes of its webhook.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime

from controller.clients.consul import ConsulClient, Entry
from controller.clients.vault import Found, VaultClient
from controller.contract.webhook_fields import WebhookUrl, parse_url
from controller.errors import ServiceError
from controller.history.records import History, Record
from controller.observability.metrics import Metrics
from controller.settings import Settings
from controller.wakeup import Signal, wait
from controller.webhook_addresses import parse_allowed, refusal
from controller.webhooks import key, message, plan, send
from controller.webhooks.marks import EVENTS, Mark, Marks, Taken, decode

log = logging.getLogger(__name__)
_TRY_WITHIN = 25.0  # seconds, with what is read from Consul and Vault before
_TAKEN_FOR = 30.0  # seconds until another controller may take a mark from one that has died
_SHORTEST = 0.05  # seconds between two looks


class _FailedError(Exception):
    """A try that failed: why, and whether another one may do better."""

    def __init__(self, why: str, *, again: bool, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.again = again
        self.retry_after = retry_after


class Deliveries:
    """The deliveries of one controller."""

    def __init__(
        self,
        settings: Settings,
        consul: ConsulClient,
        vault: VaultClient | None,
        history: History,
        metrics: Metrics,
    ) -> None:
        self.marks = Marks(consul, settings.job_ids_begin)
        self._allowed = parse_allowed(settings.webhook_allow)
        self._cacert = settings.webhook_cacert
        self._window = settings.webhook_window
        self._interval = settings.relist_interval
        self._vault = vault
        self._history = history
        self._metrics = metrics
        self._wakeup = Signal()
        self._trying: dict[str, tuple[asyncio.Task[None], str]] = {}

    def wake(self) -> None:
        """A mark was written: look at once."""
        self._wakeup.fire()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                ticket, pause = self._wakeup.ticket(), self._interval
                try:
                    pause = self._start_due(await self.marks.all())
                except ServiceError as error:
                    log.warning("webhooks cannot be looked at: %s", error.message)
                await wait(ticket, pause)
        finally:
            tasks = [task for task, _ in self._trying.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self, entries: dict[str, Entry]) -> float:
        """Begin what is due, as far as there is room; seconds until there is something to do."""
        now, soon = time.time(), self._interval
        due: list[tuple[float, str, Mark, int]] = []
        for job_id, entry in entries.items():
            try:
                mark = decode(entry.value)
            except ValueError:
                continue  # of a later version: its controllers deliver it
            if job_id in self._trying:
                continue
            if mark.due <= now:
                due.append((mark.due, job_id, mark, entry.index))
            else:
                soon = min(soon, mark.due - now)
        due.sort(key=lambda one: one[:2])
        waiting = [(job_id, _host(mark)) for _, job_id, mark, _ in due]
        chosen = set(plan.room(waiting, [host for _, host in self._trying.values()]))
        for _, job_id, mark, index in due:
            if job_id in chosen:
                task = asyncio.create_task(self._try(job_id, mark, index))
                self._trying[job_id] = (task, _host(mark))
        return max(_SHORTEST, soon)  # the end of a try wakes us too

    async def _try(self, job_id: str, mark: Mark, index: int) -> None:
        try:
            taken = await self.marks.take(job_id, mark, index, time.time() + _TAKEN_FOR)
            if taken is None:
                return  # another controller was faster
            await self._deliver(taken, parse_url(mark.url))
        except ServiceError as error:
            # Not at once again: Consul is away, or refuses.
            log.warning("the webhook of build %s waits: %s", job_id, error.message)
        else:
            self.wake()
        finally:
            self._trying.pop(job_id, None)

    async def _deliver(self, taken: Taken, url: WebhookUrl) -> None:
        try:
            async with asyncio.timeout(_TRY_WITHIN):
                await self._send(taken, url)
        except ServiceError:
            raise
        except _FailedError as failed:
            await self._failed(taken, url, failed)
            return
        except Exception as error:
            # What one webhook meets must not stop the others. Its kind only, neither words nor
            # trace: they may quote what was sent.
            await self._failed(taken, url, _FailedError(type(error).__name__, again=True))
            return
        if await self.marks.end(taken):
            self._metrics.webhooks.labels("delivered").inc()
            log.info(
                "Webhook delivered successfully: build %s to %s, try %d",
                taken.job_id,
                url.shown,
                taken.mark.tries + 1,
            )

    async def _failed(self, taken: Taken, url: WebhookUrl, failed: _FailedError) -> None:
        tries, why = taken.mark.tries + 1, str(failed)
        pause = (
            plan.pause(tries, self._window, failed.retry_after, random.random)
            if failed.again
            else None
        )
        if pause is not None:
            await self.marks.put_off(taken, time.time() + pause, why)
        else:
            await self.marks.end(taken, error=why)
        self._metrics.webhooks.labels("failed" if pause is None else "retried").inc()
        log.warning(
            "Webhook not delivered: build %s to %s, try %d: %s; %s",
            taken.job_id,
            url.shown,
            tries,
            why,
            "given up" if pause is None else f"again in {pause:.0f} s",
        )

    async def _send(self, taken: Taken, url: WebhookUrl) -> None:
        """One try. Raises _FailedError, and ServiceError where Consul does not answer."""
        record = await self._history.get(taken.job_id)
        if record is None:
            raise _FailedError("the build's record was removed", again=False)
        used = await self._key(taken.mark, url)
        try:
            async with asyncio.timeout(send.WITHIN):
                addresses = await send.resolve(url)
                if why := refusal(url, addresses, self._allowed):
                    raise _FailedError(why, again=False)
                answer = await send.post(
                    url, addresses, *self._message(taken, record, used), self._cacert
                )
        except TimeoutError:
            raise _FailedError(f"no answer within {send.WITHIN:.0f} s", again=True) from None
        except send.SendError as error:
            raise _FailedError(str(error), again=True) from error
        if plan.delivered(answer.status):
            return
        redirect = ": redirects are not followed" if 300 <= answer.status < 400 else ""
        raise _FailedError(
            f"{url.shown} answered {answer.status}{redirect}",
            again=plan.again(answer.status),
            retry_after=plan.retry_after(answer.retry_after, datetime.now(UTC)),
        )

    @staticmethod
    def _message(
        taken: Taken, record: Record, used: key.Key | None
    ) -> tuple[dict[str, str], bytes]:
        body = message.encode(message.document(record))
        headers = message.headers(
            taken.job_id,
            EVENTS[record.build.status],
            body,
            now=int(time.time()),
            key=used.secret if used else None,
            further=taken.mark.headers,
        )
        if used and used.authorization:
            headers["Authorization"] = used.authorization
        return headers, body

    async def _key(self, mark: Mark, url: WebhookUrl) -> key.Key | None:
        if mark.secret is None:
            return None
        if self._vault is None:
            raise _FailedError(
                "webhook_secret is given, but the controller knows no Vault", again=False
            )
        mount, _, name = mark.secret.partition("/nomad-build-service/webhook/")
        if mount != self._vault.mount:
            raise _FailedError("webhook_secret is of another mount of Vault", again=False)
        try:
            fields = await self._vault.webhook(name)
        except ServiceError as error:
            raise _FailedError("Vault does not answer", again=True) from error
        if isinstance(fields, Found):
            raise _FailedError("there is no secret at webhook_secret for this service", again=False)
        try:
            return key.read(fields, url)
        except key.UnusableKeyError as error:
            raise _FailedError(str(error), again=False) from error


def _host(mark: Mark) -> str:
    return parse_url(mark.url).host
