"""Moments as callers write them: RFC 3339, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.contract import amounts
from controller.contract.field_error import FieldError, text_of
from controller.contract.log_line import utc

_FIX = "write 2026-11-23T00:00:00Z, or how long ago: 7d, 12h"


def since(value: Any) -> str:
    """A moment in RFC 3339 with its offset from UTC, or an age such as `7d`; as it was given."""
    text = text_of(value).strip()
    try:
        resolve(text, datetime.now(UTC))
    except ValueError as error:
        raise FieldError("is neither a moment nor a length of time", _FIX) from error
    return text


def resolve(text: str, now: datetime) -> str:
    """The moment in UTC, as records have it. Raises ValueError."""
    try:
        ago = amounts.age(text)
    except FieldError:
        return _utc(datetime.fromisoformat(text))
    return utc(now - timedelta(seconds=ago))


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("it has no offset from UTC")
    try:
        return utc(moment)
    except OverflowError as error:  # the first and last hours of the calendar
        raise ValueError("it is outside the calendar") from error
