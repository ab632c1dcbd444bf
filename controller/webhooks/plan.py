"""When a webhook is tried again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

TRIES = 4
# Of the window, before the second, third and fourth try: with 600 s about 15 s, 90 s and 8 min.
_SHARES = (0.025, 0.15, 0.8)
AT_ONCE = 16  # tries of one controller
AT_ONCE_OF_A_HOST = 4  # so that one that does not answer leaves room for the others
_JITTER = 0.2  # so that what failed together does not come again together


def again(status: int) -> bool:
    """Whether an answer may be another one later."""
    return status == 429 or status >= 500


def delivered(status: int) -> bool:
    """Whether an answer means that the receiver has it."""
    return 200 <= status < 300


def pause(
    tries: int, window: float, retry_after: float | None, chance: Callable[[], float]
) -> float | None:
    """Seconds until the next try after `tries` of them; None where that was the last.

    What the receiver asks for is honoured up to the window. `chance` gives numbers from 0 to 1.
    """
    if tries >= TRIES:
        return None
    planned = window * _SHARES[tries - 1] * (1 + _JITTER * (2 * chance() - 1))
    return max(planned, min(retry_after or 0.0, window))


def room(waiting: Iterable[tuple[str, str]], busy: Iterable[str]) -> list[str]:
    """Which of the webhooks that wait, (job_id, host) in their order, may be tried now.

    `busy` has the host of each one that is being tried.
    """
    hosts = Counter(busy)
    chosen = []
    for job_id, host in waiting:
        if hosts.total() >= AT_ONCE:
            break
        if hosts[host] < AT_ONCE_OF_A_HOST:
            hosts[host] += 1
            chosen.append(job_id)
    return chosen


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds of a header Retry-After, as a number or as a date; None for any other."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, OverflowError):
        return None
