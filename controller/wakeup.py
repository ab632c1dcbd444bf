"""A wake-up for any number of waiting tasks, without a queue that could grow."""

from __future__ import annotations

import asyncio


class Signal:
    """Wakes all who wait. Take a ticket, look at the state, then wait with the ticket.

    A signal between the look and the wait is not lost: it has already spent the ticket.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        """What the next `fire` will set."""
        return self._event

    def fire(self) -> None:
        """Wake everybody who holds a ticket."""
        spent, self._event = self._event, asyncio.Event()
        spent.set()


async def wait(ticket: asyncio.Event, seconds: float | None) -> bool:
    """Wait for a ticket's signal; False when the time passed without one."""
    try:
        async with asyncio.timeout(seconds):
            await ticket.wait()
    except TimeoutError:
        return False
    return True
