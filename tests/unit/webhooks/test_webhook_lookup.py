"""Names whose servers do not answer: nobody but their own webhooks waits for them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.contract.webhook_fields import parse_url
from controller.webhooks import send


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets lookups of *.slow.example end; until then they are as a dead name server makes them."""
    event, system = threading.Event(), socket.getaddrinfo

    def lookup(host: str, *args: Any, **kwargs: Any) -> Any:
        if host.endswith("slow.example"):
            assert event.wait(60)
            raise socket.gaierror("nobody answers")
        return system(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield event
    event.set()


async def given_up(number: int) -> str:
    """What becomes of a lookup that is waited for only briefly."""
    try:
        async with asyncio.timeout(0.2):
            await send.resolve(parse_url(f"https://n{number}.slow.example/"))
    except TimeoutError:
        return "late"
    except send.SendError as error:
        return str(error)
    return "answered"


def test_vault_and_other_names_do_not_wait_for_slow_ones(answer: threading.Event) -> None:
    async def others() -> list[str]:
        assert set(await asyncio.gather(*map(given_up, range(32)))) == {"late"}
        async with asyncio.timeout(5):  # asyncio's own threads are where Vault is asked
            await asyncio.gather(*(asyncio.to_thread(time.monotonic) for _ in range(8)))
            return await send.resolve(parse_url("https://localhost/"))

    async def all_of_it() -> list[str]:
        try:
            return await others()
        finally:
            answer.set()  # or the end would wait for threads that hang

    assert set(asyncio.run(all_of_it())) <= {"127.0.0.1", "::1"}


def test_lookups_do_not_grow_without_bound(answer: threading.Event) -> None:
    before = threading.active_count()
    found = asyncio.run(_many(100))
    assert threading.active_count() - before <= 64
    assert "n99.slow.example cannot be resolved: too many names are being looked up" in found
    answer.set()
    deadline = time.monotonic() + 10
    while "late" not in found or threading.active_count() > before:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert asyncio.run(given_up(1)) == "n1.slow.example cannot be resolved: nobody answers"


async def _many(count: int) -> list[str]:
    return list(await asyncio.gather(*map(given_up, range(count))))
