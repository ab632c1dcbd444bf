"""Whole builds through the service beside the same commands in a plain shell.

Both run on this machine in turns, so that what disturbs one disturbs the other, each with layers of
its own; a build is measured from the call of submitJob until a client sees SUCCEEDED.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster import GIT_SECRET, REGISTRY_SECRET, Cluster
from ..errors import ClusterError
from ..git_repository import GitRepository
from ..submission import Controller
from .plain_commands import PlainCommands

_TEN = "\n".join(f"RUN echo {number} > /{number}" for number in range(10))
# Work of a fixed amount, not of a fixed time: whoever takes the processor away shows.
_WORK = "head -c 150000000 /dev/zero | sha256sum"
PHASES = ("build", "test", "publish")


@dataclass(frozen=True)
class Case:
    """`steps` stand below FROM. With `cold` every run is of a commit that no cache knows.

    `rounds` bounds how often it is run, where once takes long. `goal` is the most that a figure
    (`on_top` in seconds, or `ratio`) should be.
    """

    name: str
    steps: str
    cold: bool = False
    rounds: int | None = None
    goal: tuple[str, float] | None = None

    def files(self, cluster: Cluster) -> dict[str, str]:
        """What the repository holds; in cold cases different each time."""
        nonce = str(time.monotonic_ns()) if self.cold else ""
        first = "COPY nonce /nonce\n" if self.cold else ""
        return {
            "Dockerfile": f"FROM {cluster.base_image}\n{first}{self.steps}\n",
            "nonce": nonce,
        }


CASES = {
    case.name: case
    for case in (
        Case("trivial", "RUN true", goal=("on_top", 1.0)),
        Case("ten-steps", _TEN),
        Case("ten-steps-cold", _TEN, cold=True),
        Case("100-mb-cold", "RUN dd if=/dev/urandom of=/large bs=1M count=100", cold=True),
        Case(
            "minute-cold",
            f"RUN for n in $(seq 1 55); do {_WORK}; echo step $n of 55; done",
            cold=True,
            rounds=2,
            goal=("ratio", 1.05),
        ),
    )
}


class Builds:
    """Measures cases on one cluster; SUCCEEDED or ClusterError."""

    def __init__(self, cluster: Cluster, controller: Controller) -> None:
        self._cluster = cluster
        self._controller = controller

    def case(self, case: Case, rounds: int) -> dict[str, Any]:
        """The figures of one case: see `pairs`."""
        repository = self._cluster.create_git_repository(
            f"bench-{case.name}", case.files(self._cluster)
        )
        figures = self.pairs(
            case.name,
            self.request(repository, case.name),
            "true",
            min(rounds, case.rounds or rounds),
            (case, repository) if case.cold else None,
        )
        return figures | ({"goal": _goal(*case.goal, figures)} if case.goal else {})

    def request(self, repository: GitRepository, name: str) -> dict[str, Any]:
        """A request to build `main` of a repository of the cluster."""
        return {
            "owner": "bench",
            "repo_url": repository.http_url,
            "git_ref": "main",
            "git_credentials_path": f"secret/{GIT_SECRET}",
            "registry_url": f"{self._cluster.registry.host}/bench/{name}",
            "image_tags": ["1"],
            "registry_credentials_path": f"secret/{REGISTRY_SECRET}",
            "test_commands": ["true"],
        }

    def pairs(
        self,
        name: str,
        request: Mapping[str, Any],
        test: str,
        rounds: int,
        renewed: tuple[Case, GitRepository] | None = None,
    ) -> dict[str, Any]:
        """Both ways once to warm up, then in turns: medians, what is on top, and the ratio."""
        root = self._cluster.state.root / f"bench-{name}"
        if root.exists():
            raise ClusterError(f"{root} is left of an interrupted run: remove it")
        reference = f"{self._cluster.registry.host}/bench/plain-{name}:1"
        plain = PlainCommands(self._cluster, root, request["repo_url"], reference, test)
        pairs: list[tuple[float, float, dict[str, Any]]] = []
        try:
            first = {"plain": plain.run(), "service": self.submit(request)[0]}
            for _ in range(rounds):
                if renewed:
                    case, repository = renewed
                    repository.push(case.files(self._cluster))
                pairs.append((plain.run(), *self.submit(request)))
        finally:
            plain.remove()
        by_hand, service = [one[0] for one in pairs], [one[1] for one in pairs]
        return {
            "first": {key: round(value, 2) for key, value in first.items()},
            "plain": spread(by_hand),
            "service": spread(service),
            "on_top": spread([s - p for p, s, _ in pairs]),
            "ratio": round(statistics.median(service) / statistics.median(by_hand), 2),
            "phases": {
                phase: spread([one[2]["phases"][phase]["duration_seconds"] for one in pairs])
                for phase in PHASES
            },
        }

    def submit(self, request: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Build; the seconds that it took as a client sees it, and its status."""
        began = time.monotonic()
        status = self._controller.wait_ended(self._controller.submit(request), seconds=300)
        took = time.monotonic() - began
        if status["status"] != "SUCCEEDED":
            raise ClusterError(f"the build failed: {status['failure']}")
        return took, status


def _goal(name: str, most: float, figures: Mapping[str, Any]) -> dict[str, Any]:
    found = figures[name]["median"] if isinstance(figures[name], dict) else figures[name]
    return {"figure": name, "at_most": most, "reached": found <= most}


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and most, to hundredths."""
    return {
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }


def shown(name: str, figures: Mapping[str, Any]) -> str:
    """The figures of a case in two lines."""
    phases = ", ".join(f"{phase} {one['median']} s" for phase, one in figures["phases"].items())
    text = (
        f"{name}: {figures['service']['median']} s, plain {figures['plain']['median']} s, on top "
        f"{figures['on_top']['median']} s ({figures['on_top']['min']} to "
        f"{figures['on_top']['max']}), ratio {figures['ratio']}\n  phases: {phases}"
    )
    if goal := figures.get("goal"):
        words = goal["figure"].replace("_", " ")
        text += f"\n  goal: {words} at most {goal['at_most']}: "
        text += "reached" if goal["reached"] else "missed"
    return text
