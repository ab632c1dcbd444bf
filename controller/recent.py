"""The newest values by key, a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_KEPT = 512
Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The newest values by key, a bounded number of them."""

    def __init__(self, most: int = _KEPT) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._most = most

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, or None."""
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value; the oldest goes."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value

    def pop(self, key: Hashable) -> None:
        """Forget a key."""
        self._values.pop(key, None)
