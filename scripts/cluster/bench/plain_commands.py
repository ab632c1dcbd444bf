"""The same work as a build, by hand: what a person would type, as the build user."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from ..cluster import GIT_SECRET, Cluster
from ..errors import ClusterError

_SCRIPT = """
rm -rf src && git clone --quiet --depth 1 "$URL" src
$B build --quiet --layers --isolation chroot --pull=ifmissing --tls-verify=false \
  --authfile auth.json --build-arg BASE_IMAGE="$BASE" --tag "$REF" src >/dev/null
c=$($B from --pull-never "$REF")
$B run --isolation chroot "$c" -- sh -c "$TEST" >/dev/null
$B rm "$c" >/dev/null
$B push --quiet --tls-verify=false --authfile auth.json "$REF"
"""


class PlainCommands:
    """`git clone`, `buildah build`, the test, `buildah push`, with layers of their own."""

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
        """Return the seconds that the commands took. Raises ClusterError."""
        began = time.monotonic()
        self._shell(_SCRIPT)
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
