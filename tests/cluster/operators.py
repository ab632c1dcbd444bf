"""What an operator runs beside the pack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cluster.cluster import Cluster

REPOSITORY = Path(__file__).parents[2]


def access_setup(
    cluster: Cluster, *options: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `scripts/access-setup` with the environment that an operator has."""
    return subprocess.run(
        [sys.executable, "-m", "cluster.access.command", *options],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONPATH": f"{REPOSITORY / 'scripts'}",
            **cluster.env(),
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
