"""The parts of the controller, put together: what routes get to work with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from controller.access.authentication import Authentication
from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.access.room import Room
from controller.access.tickets import Tickets
from controller.cleanup import Cleanup
from controller.clients.consul import ConsulClient
from controller.clients.nomad import NomadClient
from controller.clients.nomad_files import NomadFiles
from controller.clients.vault import VaultClient
from controller.history.listing import HistoryList
from controller.history.recorder import Recorder
from controller.history.records import History
from controller.history.retention import Retention
from controller.image_removal import ImageRemoval
from controller.logs.follow import Follows
from controller.logs.lines import Logs
from controller.logs.stream import LogStreams
from controller.observability.audit import Audit
from controller.observability.gauges import Gauges
from controller.observability.health import Health
from controller.observability.metrics import Metrics
from controller.settings import Settings
from controller.status.blocked_builds import BlockedBuilds
from controller.status.builds import Builds
from controller.status.current_builds import CurrentBuilds
from controller.status.waiting import Waiting
from controller.status.watch import Watch
from controller.submission.check import Check
from controller.submission.dispatch import Dispatch
from controller.submission.one_off import OneOff
from controller.submission.promotion import Promotions
from controller.submission.rerun import Reruns
from controller.webhooks.deliveries import Deliveries


@dataclass(frozen=True, slots=True)
class Service:
    """One of each, sharing connections."""

    settings: Settings
    audit: Audit
    authentication: Authentication
    metrics: Metrics
    builds: Builds
    dispatch: Dispatch
    logs: Logs
    log_streams: LogStreams
    waiting: Waiting
    follows: Follows
    health: Health
    history_list: HistoryList
    cleanup: Cleanup
    promotions: Promotions
    reruns: Reruns
    check: Check
    tickets: Tickets
    deliveries: Deliveries


@contextlib.asynccontextmanager
async def running(
    settings: Settings, failed: Callable[[BaseException], None]
) -> AsyncIterator[Service]:
    """The service with its background tasks; all of it ends with the context.

    `failed` is called when a background task ends by an error: then the service should end too,
    rather than live on without its watch.
    """
    audit, rules = Audit(settings.audit), OwnerRules(settings)
    metrics = Metrics(owners=settings.metrics_owners)
    nomad, consul = NomadClient(settings), ConsulClient(settings)
    vault = VaultClient(settings) if settings.vault_addr else None
    credentials = CredentialPaths(vault)
    files, history = NomadFiles(nomad), History(consul, settings.job_ids_begin)
    builds = Builds(settings, nomad, files, history)
    watch = Watch(settings, nomad, metrics)
    logs = Logs(settings, builds, files, history)
    follows = Follows(settings, builds, files, watch, metrics)
    deliveries = Deliveries(settings, consul, vault, history, metrics)
    log_streams = LogStreams(settings, follows, files, history)
    health = Health(nomad, consul, vault, metrics)
    current = CurrentBuilds(settings, nomad, builds)
    one_off = OneOff(settings, nomad, files)
    images = ImageRemoval(settings, one_off)
    cleanup = Cleanup(settings, nomad, files, builds, current, history, images, metrics, audit)
    tickets = Tickets(consul, builds)
    retention = Retention(settings, history, current, cleanup, images, tickets)
    room = Room(settings, nomad, current, rules)
    gauges = Gauges(settings, nomad, builds, history, metrics)
    dispatch = Dispatch(settings, nomad, credentials, rules, room, builds, metrics)
    recorder = Recorder(
        builds, current, logs, history, deliveries, dispatch.stop_parts, metrics, audit
    )
    service = Service(
        settings=settings,
        audit=audit,
        authentication=Authentication(settings, nomad),
        metrics=metrics,
        builds=builds,
        logs=logs,
        follows=follows,
        dispatch=dispatch,
        health=health,
        log_streams=log_streams,
        waiting=Waiting(builds, logs, log_streams),
        history_list=HistoryList(history, current),
        cleanup=cleanup,
        check=Check(settings, nomad, one_off, credentials, rules, vault),
        deliveries=deliveries,
        reruns=Reruns(settings, builds, dispatch),
        promotions=Promotions(settings, one_off, builds, credentials, rules),
        tickets=tickets,
    )
    tasks = [
        asyncio.create_task(watch.run(recorder.ended, history.recorded, history.all_waiting)),
        asyncio.create_task(health.run()),
        asyncio.create_task(retention.run()),
        asyncio.create_task(gauges.run()),
        asyncio.create_task(BlockedBuilds(settings, nomad).run()),
        asyncio.create_task(deliveries.run()),
    ]
    for task in tasks:
        task.add_done_callback(partial(_ended, failed))
    try:
        yield service
    finally:
        follows.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await nomad.close()
        await consul.close()
        if vault is not None:
            await vault.close()


def _ended(failed: Callable[[BaseException], None], task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        failed(error)
