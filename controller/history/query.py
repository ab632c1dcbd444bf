"""What a caller asks of the history, and which builds answer it. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import NamedTuple

from controller.contract.git_names import same_repository
from controller.errors import MalformedRequestError
from controller.history.summary import Summary

_TIME = re.compile(r"[0-9TZ:.+-]{0,40}\Z")


class Position(NamedTuple):
    """Where a build stands in the list; the newest is the greatest.

    It never changes, so a page that begins behind it is right whatever begins or ends meanwhile.
    """

    created_at: str
    job_id: str

    def cursor(self) -> str:
        """The opaque form that callers get."""
        return base64.urlsafe_b64encode("/".join(self).encode()).decode().rstrip("=")


def position(text: str) -> Position:
    """Read a cursor. Raises MalformedRequestError."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        raw = ""
    created_at, found, job_id = raw.partition("/")
    if not found or not job_id or not _TIME.match(created_at):
        raise MalformedRequestError(
            "the page cursor `after` is not one that getHistory gave out",
            "give `next` of an earlier answer, or leave it out for the newest builds",
        )
    return Position(created_at, job_id)


@dataclass(frozen=True, slots=True)
class Query:
    """Which builds, and which page of them. `since` is RFC 3339 in UTC, `owner` exact."""

    owner: str | None = None
    status: str | None = None
    repo_url: str | None = None
    since: str | None = None
    after: Position | None = None
    offset: int = 0
    limit: int = 50

    @property
    def narrows(self) -> bool:
        """Whether a build must be known by more than its time to be chosen."""
        return bool(self.owner or self.status or self.repo_url)

    def wants_request(self, owner: str, repo_url: str) -> bool:
        """Whether builds of such a request are asked for."""
        if self.owner is not None and owner != self.owner:
            return False
        return self.repo_url is None or (
            bool(repo_url) and same_repository(repo_url) == same_repository(self.repo_url)
        )

    def wants(self, one: Summary) -> bool:
        """Whether an ended build is asked for."""
        return (
            (self.status is None or one.status == self.status)
            and (self.since is None or one.created_at >= self.since)
            and self.wants_request(one.owner, one.repo_url)
        )

    def wants_all_of(self, day: str) -> bool:
        """Whether every build submitted on a day is asked for, without a look at them."""
        return not self.narrows and (self.since is None or day > self.since[:10])


class Page:
    """Takes builds from the newest to the oldest and keeps those of the page."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._skip = query.offset
        self.total = 0
        self.more = False
        self.taken: list[Position] = []

    def passes(self, day: str, count: int) -> bool:
        """Count the builds of a day that are all wanted, where none of them is on the page."""
        if not self._query.wants_all_of(day):
            return False
        full = len(self.taken) >= self._query.limit
        newer = self._query.after is not None and day > self._query.after.created_at[:10]
        if not (full or newer or count <= self._skip):
            return False
        self.total += count
        if full:
            self.more = True
        elif not newer:
            self._skip -= count
        return True

    def take(self, one: Position) -> None:
        """Count a wanted build, and keep it if it is on the page."""
        self.total += 1
        if self._query.after is not None and one >= self._query.after:
            return
        if self._skip:
            self._skip -= 1
        elif len(self.taken) < self._query.limit:
            self.taken.append(one)
        else:
            self.more = True
