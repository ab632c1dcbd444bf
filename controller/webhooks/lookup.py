"""Looks up the hosts of webhooks, in threads of its own.

Callers choose the name, and with it the name server, which may answer late or never; a lookup of
the system cannot be cancelled. In asyncio's own few threads, where Vault is asked too, such lookups
would hold up submissions, and the controller's end.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

_MOST = 64  # lookups at once, with those that nobody waits for any more
_room = threading.BoundedSemaphore(_MOST)


async def addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, each once. Raises OSError and UnicodeError."""
    if not _room.acquire(blocking=False):
        raise OSError("too many names are being looked up")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def look() -> None:
        outcome: list[str] | Exception
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome = list(dict.fromkeys(str(address[0]) for *_, address in answer))
        except Exception as error:
            outcome = error
        finally:
            _room.release()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_tell, found, outcome)

    try:
        threading.Thread(target=look, name="webhook lookup", daemon=True).start()
    except RuntimeError as error:
        _room.release()
        raise OSError("no thread is left for a lookup") from error
    return await found


def _tell(found: asyncio.Future[list[str]], outcome: list[str] | Exception) -> None:
    if found.done():
        return  # nobody waits any more
    if isinstance(outcome, Exception):
        found.set_exception(outcome)
    else:
        found.set_result(outcome)
