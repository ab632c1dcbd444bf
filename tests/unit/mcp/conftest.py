"""The API in this process, for all tests of the protocol."""

from __future__ import annotations

from collections.abc import Iterator

import in_process
import pytest


@pytest.fixture(scope="session")
def api() -> Iterator[in_process.Api]:
    with in_process.serving() as one:
        yield one
