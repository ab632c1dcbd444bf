"""Lengths of time and sizes, as people write them, in the units that Nomad takes."""

from __future__ import annotations

import re
from typing import Any

from controller.contract.field_error import FieldError

_TIMESPAN = re.compile(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?\Z")
_AGE = re.compile("".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in "wdhms") + r"\Z")
_AGE_UNITS = (7 * 86400, 86400, 3600, 60, 1)  # seconds
_OLDEST = 100 * 365 * 86400  # seconds
_AMOUNT = re.compile(r"([0-9]{1,9})\s?([A-Za-z]*)\Z")
_UNITS = {
    "megahertz": {"": 1, "mhz": 1, "ghz": 1000},
    "megabytes": {
        "": 1,
        "m": 1,
        "mb": 1,
        "mi": 1,
        "mib": 1,
        "g": 1024,
        "gb": 1024,
        "gi": 1024,
        "gib": 1024,
        "t": 1 << 20,
        "tb": 1 << 20,
        "ti": 1 << 20,
        "tib": 1 << 20,
    },
}
_LONGEST = 7 * 24 * 3600  # seconds


def timespan(value: Any) -> int:
    """Whole seconds, from an integer or from text such as `90s`, `45m`, `1h30m`."""
    if isinstance(value, str) and value:
        if value.isascii() and value.isdigit() and len(value) < 9:
            seconds = int(value)
        elif match := _TIMESPAN.match(value):
            hours, minutes, rest = (int(part or 0) for part in match.groups())
            seconds = hours * 3600 + minutes * 60 + rest
        else:
            raise FieldError("is not a length of time", "write 90s, 45m, 1h30m, or whole seconds")
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        raise FieldError("is not a length of time", "write 90s, 45m, 1h30m, or whole seconds")
    if not 1 <= seconds <= _LONGEST:
        raise FieldError(f"is {seconds} s, not between 1 s and 7 days", "write 90s, 45m or 1h30m")
    return seconds


def age(value: Any) -> int:
    """How long ago, in whole seconds: an integer or text such as `90d`, `12h`, `1d12h`, `45m`."""
    fix = "write 90d, 12h, 45m, or whole seconds"
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        seconds = int(value)
    elif isinstance(value, str) and value and (match := _AGE.match(value)):
        parts = zip(match.groups(), _AGE_UNITS, strict=True)
        seconds = sum(int(number or 0) * unit for number, unit in parts)
    else:
        raise FieldError("is not a length of time", fix)
    if not 0 <= seconds <= _OLDEST:
        raise FieldError("is negative or longer than a century", fix)
    return seconds


def megahertz(value: Any) -> int:
    """CPU in MHz, from a number or text such as `2000`, `2000MHz`, `2GHz`."""
    return _amount(value, "megahertz", "write MHz as a number, or 2000MHz, or 2GHz")


def megabytes(value: Any) -> int:
    """Memory or disk in Nomad's MB (MiB), from a number or text such as `2048MB`, `2GiB`."""
    return _amount(value, "megabytes", "write MB as a number, or 2048MB, or 2GB")


def _amount(value: Any, unit: str, fix: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        amount = value
    elif (
        isinstance(value, str)
        and (match := _AMOUNT.match(value))
        and match[2].lower() in _UNITS[unit]
    ):
        amount = int(match[1]) * _UNITS[unit][match[2].lower()]
    else:
        raise FieldError(f"is not an amount in {unit}", fix)
    if not 1 <= amount <= 1 << 40:
        raise FieldError("is zero, negative or absurdly large", fix)
    return amount
