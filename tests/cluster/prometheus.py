"""A real Prometheus that scrapes controllers, with the recording rules that we ship."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from builds import eventually

RULES = Path(__file__).parents[2] / "nomad" / "prometheus" / "recording_rules.yml"
JOB = "nomad-build-service-metrics"
Labels = tuple[tuple[str, str], ...]


@dataclass
class Prometheus:
    """A server, asked by PromQL."""

    address: str

    def query(self, expression: str) -> dict[Labels, float]:
        """The instant vector, by its labels without name, job and instance."""
        answer = httpx.get(f"{self.address}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        return {
            tuple(
                sorted(
                    (name, value)
                    for name, value in one["metric"].items()
                    if name not in ("__name__", "job", "instance")
                )
            ): float(one["value"][1])
            for one in answer.json()["data"]["result"]
        }


@contextmanager
def scraping(directory: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Prometheus on a free port; it scrapes once a second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "prometheus.yml"
    hosts = [target.removeprefix("http://") for target in targets]
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": hosts}]}],
            }
        )
    )
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
            cwd=directory,
        )
    one = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually("every controller is scraped", lambda: _up(one, len(hosts)), 30)
        yield one
    finally:
        process.terminate()
        process.wait(20)


def _up(one: Prometheus, count: int) -> bool:
    try:
        answer = httpx.get(f"{one.address}/api/v1/query", params={"query": "sum(up)"})
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    result = answer.json()["data"]["result"]
    return bool(result) and int(result[0]["value"][1]) == count
