"""Who may do what at the tests' LFS server: everybody everything. The Git server asks before it.

Giftless's own `allow_anon` lets nobody write an object (0.6.2: it looks for a right of each one).
"""

from __future__ import annotations

from typing import Any

from giftless.auth.identity import Identity


class Everyone(Identity):
    """Somebody who may do everything."""

    def is_authorized(self, *_: Any, **__: Any) -> bool:
        """Always."""
        return True


def identity(_: Any) -> Everyone:
    """Whoever asks."""
    return Everyone(name="everyone")
