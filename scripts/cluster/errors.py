"""The one exception that the commands in `scripts/` show to people."""

from __future__ import annotations


class ClusterError(Exception):
    """Something a person can act on: the message says what failed, where, and the next step."""
