"""`scripts/bench`: a whole build through the service beside the same commands in a plain shell.

Both run on this machine in turns, so that what disturbs one disturbs the other: `git clone`,
`buildah build`, the test, `buildah push` as the build user, with a warm layer cache of their own;
and the same repository submitted to the service, from the call to SUCCEEDED as a client sees it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import latency, sample
from .cluster import GIT_SECRET, REGISTRY_SECRET, Cluster
from .errors import ClusterError
from .own_controller import environment, own_controller, python
from .paths import default_state_directory
from .submission import Controller

TRIVIAL = "RUN true"


class Plain:
    """The same work as a build, by hand: four commands of the build user."""

    def __init__(self, cluster: Cluster, root: Path, url: str, reference: str, test: str) -> None:
        self._cluster = cluster
        self._root = root
        self._reference = reference
        self._test = test
        secret = cluster.vault.client().secrets.kv.v2.read_secret_version(
            GIT_SECRET, raise_on_deleted_version=True
        )["data"]["data"]
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme}://{secret['username']}:{secret['password']}@{rest}"
        root.mkdir(parents=True)
        (root / "auth.json").write_text(cluster.registry.credentials.auth_json())
        for path in (root, root / "auth.json"):
            cluster.task_account.own(path)

    def run(self) -> float:
        """Return the seconds that the four commands took."""
        began = time.monotonic()
        self._shell(
            'rm -rf src && git clone --quiet --depth 1 "$URL" src\n'
            "$B build --quiet --layers --isolation chroot --pull=ifmissing --tls-verify=false "
            '--authfile auth.json --build-arg BASE_IMAGE="$BASE" --tag "$REF" src >/dev/null\n'
            'c=$($B from --pull-never "$REF")\n'
            '$B run --isolation chroot "$c" -- sh -c "$TEST" >/dev/null\n'
            '$B rm "$c" >/dev/null\n'
            '$B push --quiet --tls-verify=false --authfile auth.json "$REF"\n'
        )
        return time.monotonic() - began

    def remove(self) -> None:
        """Remove what the commands left, files of subordinate ids included."""
        self._shell("$B unshare rm -rf storage run")
        shutil.rmtree(self._root)

    def _shell(self, script: str) -> None:
        buildah = self._cluster.state.node / "bin" / "buildah"
        done = subprocess.run(
            ["bash", "-euc", f'B="{buildah} --root storage --runroot run"\n{script}'],
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._root),
                "TMPDIR": str(self._root),
                "XDG_RUNTIME_DIR": str(self._root),
                "URL": self._url,
                "REF": self._reference,
                "TEST": self._test,
                "BASE": self._cluster.base_image,
            },
            **self._cluster.task_account.popen_arguments(),
        )
        if done.returncode != 0:
            raise ClusterError(f"the plain commands failed:\n{done.stderr}")


def measure(
    cluster: Cluster,
    controller: Controller,
    name: str,
    request: dict[str, Any],
    url: str,
    test: str,
    runs: int,
) -> dict[str, Any]:
    """Return medians and spreads of both, cold once and then warm in turns."""
    root = cluster.state.root / f"bench-{name}"
    if root.exists():
        raise ClusterError(f"{root} is left of an interrupted run: remove it")
    plain = Plain(cluster, root, url, f"{cluster.registry.host}/bench/plain-{name}:1", test)
    try:
        cold = {"plain": plain.run(), "service": _submit(controller, request)[0]}
        pairs = [(plain.run(), _submit(controller, request)) for _ in range(runs)]
    finally:
        plain.remove()
    seconds = {"plain": [p for p, _ in pairs], "service": [s for _, (s, _) in pairs]}
    phases = [status["phases"] for _, (_, status) in pairs]
    return {
        "cold": {key: round(value, 2) for key, value in cold.items()},
        "warm": {key: _spread(values) for key, values in seconds.items()},
        "on_top": _spread(
            [s - p for p, s in zip(seconds["plain"], seconds["service"], strict=True)]
        ),
        "ratio": round(
            statistics.median(seconds["service"]) / statistics.median(seconds["plain"]), 2
        ),
        "phases": {
            phase: _spread([one[phase]["duration_seconds"] for one in phases])
            for phase in ("build", "test", "publish")
        },
    }


def controller_figures(cluster: Cluster) -> dict[str, Any]:
    """Return start time and resident memory of a controller of its own, beside Python's own."""
    began = time.monotonic()
    subprocess.run([python(cluster), "-c", ""], check=True, env=environment(cluster))
    bare = time.monotonic() - began
    with own_controller(cluster) as own:
        return {
            "ready_seconds": round(own.ready_seconds, 2),
            "python_seconds": round(bare, 3),
            "resident_mb": own.resident_mb(),
        }


def _submit(controller: Controller, request: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    began = time.monotonic()
    status = controller.wait_ended(controller.submit(request), seconds=300)
    took = time.monotonic() - began
    if status["status"] != "SUCCEEDED":
        raise ClusterError(f"the build failed: {status['failure']}")
    return took, status


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }


def run(cluster: Cluster, runs: int) -> dict[str, Any]:
    """Return every figure."""
    controller = Controller(cluster.pack.wait_healthy())
    project = json.loads(sample.put_in_place(cluster).read_text())
    test = " && ".join(project["test_commands"])
    trivial = cluster.create_git_repository(
        "bench-trivial", {"Dockerfile": f"FROM {cluster.base_image}\n{TRIVIAL}\n"}
    )
    small = {
        "owner": "bench",
        "repo_url": trivial.http_url,
        "git_ref": "main",
        "git_credentials_path": f"secret/{GIT_SECRET}",
        "registry_url": f"{cluster.registry.host}/bench/trivial",
        "image_tags": ["1"],
        "registry_credentials_path": f"secret/{REGISTRY_SECRET}",
        "test_commands": ["true"],
    }
    return {
        "trivial": measure(cluster, controller, "trivial", small, trivial.http_url, "true", runs),
        "sample": measure(
            cluster,
            controller,
            "sample",
            project | {"owner": "bench"},
            project["repo_url"],
            test,
            runs,
        ),
        "controller": controller_figures(cluster),
    }


def main() -> int:
    """Measure and print, one line a figure or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--latency", action="store_true", help="calls beside Nomad's dispatch")
    parser.add_argument("--rounds", type=int, default=200, help="calls of each kind")
    options = parser.parse_args()
    root = Path(os.environ.get("NBS_STATE_DIR") or default_state_directory())
    try:
        cluster = Cluster.attach(root)
        if options.latency:
            figures = latency.run(cluster, options.rounds)
        else:
            figures = run(cluster, options.runs)
    except ClusterError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(figures, indent=1))
        return 0
    if options.latency:
        print(latency.shown(figures))
        return 0
    for name in ("trivial", "sample"):
        one = figures[name]
        warm = {key: value["median"] for key, value in one["warm"].items()}
        print(
            f"{name}: warm {warm['service']} s, plain {warm['plain']} s, on top "
            f"{one['on_top']['median']} s, ratio {one['ratio']}; cold {one['cold']['service']} s,"
            f" plain {one['cold']['plain']} s"
        )
        print(
            "  phases: "
            + ", ".join(f"{phase} {value['median']} s" for phase, value in one["phases"].items())
        )
    print(
        "controller: ready in {ready_seconds} s (python alone {python_seconds} s), "
        "{resident_mb} MB resident".format(**figures["controller"])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
