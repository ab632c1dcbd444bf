"""What the layer cache of a node loses when it is too large, and what it keeps.

The owner's storage is moved into one of its own, where nothing else counts towards the budget.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Builds

from cluster.cluster import Cluster

pytestmark = pytest.mark.slow


def program(cluster: Cluster, tmp: Path, storage: Path, *argv: str, **env: str) -> str:
    """Run a program of the node as `image-prune` does; its standard output."""
    done = subprocess.run(
        argv,
        env={
            "PATH": os.environ["PATH"],
            "NOMAD_ALLOC_ID": "0",
            "NOMAD_JOB_ID": "image-prune",
            "NOMAD_TASK_NAME": "prune",
            "NOMAD_ALLOC_DIR": str(tmp),
            "NOMAD_TASK_DIR": str(tmp),
            "NOMAD_SECRETS_DIR": str(tmp),
            "NBS_STORAGE_DIR": str(storage),
            "NBS_BUILDAH": str(cluster.state.node / "bin" / "buildah"),
            "PYTHONPATH": str(cluster.state.node / "lib"),
            **env,
        },
        cwd=tmp,
        capture_output=True,
        text=True,
        check=False,
        **cluster.task_account.popen_arguments(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_budget(cluster: Cluster, tmp: Path, storage: Path, megabytes: int) -> list[str]:
    task = str(cluster.state.node / "bin" / "nbs-task")
    kept = int(subprocess.check_output(["du", "-sm", str(storage)]).split()[0]) - megabytes
    said = program(cluster, tmp, storage, task, "prune", NBS_CACHE_BUDGET_MB=str(kept))
    images: list[str] = json.loads(said)["images"]
    return images


def before_a_build(cluster: Cluster, tmp: Path, storage: Path, megabytes: int) -> list[str]:
    code = (
        "import json, sys\n"
        "from controller.tasks import environment, prune\n"
        "from controller.tasks.isolation.sandbox import Sandbox\n"
        "from controller.tasks.node.storage import tool_env\n"
        "here = environment.read()\n"
        "sandbox = Sandbox(tool_env(here.task_dir), driver=here.driver)\n"
        "pruning = prune.Pruning(here, sandbox)\n"
        "pruning.make_room(int(sys.argv[1]) << 20)\n"
        "print(json.dumps(pruning.done['images']))\n"
    )
    said = program(cluster, tmp, storage, "/usr/bin/python3", "-c", code, str(megabytes))
    images: list[str] = json.loads(said)
    return images


@pytest.mark.parametrize("evict", [by_budget, before_a_build])
def test_what_was_used_last_stays(
    builds: Builds, evict: Callable[[Cluster, Path, Path, int], list[str]]
) -> None:
    owner = f"evict-{time.monotonic_ns()}"
    cluster = builds.cluster
    large = "RUN dd if=/dev/urandom of=/large bs=1M count=20"
    old, kept = (builds.dockerfile(f"{large} && echo {name}") for name in ("old", "kept"))
    for repository in (kept, old, kept):
        builds.run(builds.request(repository, owner=owner), "SUCCEEDED")
    home = cluster.state.storage / hashlib.sha256(owner.encode()).hexdigest()[:16]
    apart = cluster.state.root / owner
    (apart / "tmp").mkdir(parents=True)
    moved = apart / "storage" / home.name
    moved.parent.mkdir()
    for path in (apart, apart / "tmp", apart / "storage"):
        cluster.task_account.own(path)
    home.rename(moved)
    try:
        assert evict(cluster, apart / "tmp", moved.parent, 10)
        if evict is before_a_build:
            assert evict(cluster, apart / "tmp", moved.parent, 10_000) == []
    finally:
        moved.rename(home)
    again = builds.run(builds.request(kept, owner=owner), "SUCCEEDED")
    assert again["cache"]["misses"] == 0
    evicted = builds.run(builds.request(old, owner=owner), "SUCCEEDED")
    assert evicted["cache"]["first_miss"]["reason"] == "LayersGone"
