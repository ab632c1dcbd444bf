"""`nbs serve`: settings, sockets, two small servers in one process, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from controller import __version__, app
from controller.access import exposure
from controller.clients.consul import ConsulClient
from controller.errors import ServiceError
from controller.observability import log_format
from controller.service import running
from controller.settings import CONFIG_PREFIX, SettingError, Settings, load

log = logging.getLogger(__name__)
_TRIES, _PAUSE = 4, 1.5  # of reading settings in Consul; seconds between two


class _Server(uvicorn.Server):
    """A server that leaves signals to us: two of them run in one process."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


def main(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    try:
        settings = asyncio.run(settings_of(environ))
        exposure.check(settings)
    except SettingError as error:
        print(f"nbs serve: {error}", file=sys.stderr)
        return 2
    log_format.configure(settings.log_level)
    for name, shown in settings.shown().items():
        log.info("setting %s = %r (%s)", name, shown["value"], shown["source"])
    try:
        return asyncio.run(_serve(settings))
    except OSError as error:
        print(f"nbs serve: {error}", file=sys.stderr)
        return 1


async def settings_of(environ: Mapping[str, str]) -> Settings:
    """The settings, with what Consul KV holds.

    Raises SettingError where Consul does not answer: what it holds may be who is let in.
    """
    first = load(environ, {})
    for last in (False,) * (_TRIES - 1) + (True,):
        consul = ConsulClient(first, timeout=2.0)
        try:
            stored = await consul.values(CONFIG_PREFIX)
        except ServiceError as error:
            if first.without_consul:
                print(f"nbs serve: without settings in Consul: {error.message}", file=sys.stderr)
                return first
            if last:
                raise SettingError(
                    f"settings in Consul cannot be read: {error.message}; mend that, or set"
                    " without_consul to start without them"
                ) from error
            await asyncio.sleep(_PAUSE)
        else:
            return load(environ, {name: value.decode() for name, value in stored.items()})
        finally:
            await consul.close()
    raise AssertionError("the last try has an end")


async def _serve(settings: Settings) -> int:
    stopping, failures = asyncio.Event(), list[BaseException]()

    def fail(error: BaseException) -> None:
        log.critical("a part of the service failed; it ends", exc_info=error)
        failures.append(error)
        stopping.set()

    with (
        _listen(settings.bind, settings.port) as api_socket,
        _listen(settings.bind, settings.metrics_port) as metrics_socket,
    ):
        async with running(settings, fail) as service, app.serving(service) as api:
            servers = [
                (_server(api, settings), api_socket),
                (_server(app.metrics(service), settings), metrics_socket),
            ]
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stopping.set)
            log.info(
                "nomad-build-service %s listens on http://%s:%s, metrics on port %s",
                __version__,
                settings.bind,
                api_socket.getsockname()[1],
                metrics_socket.getsockname()[1],
            )
            serving = asyncio.gather(*(server.serve([bound]) for server, bound in servers))
            await stopping.wait()
            log.info("stopping: streams end, open requests have %s s", settings.shutdown_grace)
            service.follows.close()
            for server, _ in servers:
                server.should_exit = True
            await serving
    log.info("stopped")
    return 1 if failures else 0


def _server(application: ASGIApp, settings: Settings) -> _Server:
    return _Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_ping_interval=20,
            ws_ping_timeout=20,
            ws_max_size=1 << 16,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        )
    )


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only for sockets that say they are TCP, and
    # create_server's do not: each answer would wait 40 ms for a delayed acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(1024)
        yield bound
