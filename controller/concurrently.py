"""Many calls at once, but only so many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def concurrently(
    most: int, call: Callable[[Item], Awaitable[Result]], items: Iterable[Item]
) -> list[Result]:
    """The results of `call` in the order of the items; at most `most` calls run at once.

    The first error ends the others and is raised.
    """
    slots = asyncio.Semaphore(most)

    async def run(item: Item) -> Result:
        async with slots:
            return await call(item)

    tasks = [asyncio.ensure_future(run(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
