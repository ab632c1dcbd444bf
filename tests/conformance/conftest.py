"""Fixtures: the Node.js packages, and the service's API with the suite's fixtures as its tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node_packages import NodePackages, install

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
_LISTENS = re.compile(r"listens on (http://\S+)")


@pytest.fixture(scope="session")
def packages() -> NodePackages:
    return install()


@pytest.fixture(scope="session")
def fixture_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log_file = tmp_path_factory.mktemp("conformance") / "fixtures.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "fixtures.app"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{REPOSITORY}:{HERE}"},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while not (found := _LISTENS.search(log_file.read_text("utf-8"))):
            assert process.poll() is None, log_file.read_text("utf-8")
            assert time.monotonic() < deadline, log_file.read_text("utf-8")
            time.sleep(0.05)
        yield f"{found[1]}/mcp"
    finally:
        process.terminate()
        process.wait(10)
    assert "Traceback" not in log_file.read_text("utf-8")
