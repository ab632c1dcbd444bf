"""Deploying the pack on the embedded cluster with the real nomad-pack."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import ClusterError
from .http import get_json, status_of
from .paths import REPOSITORY
from .waiting import wait_for

if TYPE_CHECKING:
    from .cluster import Cluster

PACK = REPOSITORY / "packs" / "nomad_build_service"
DEPLOYMENT = "nbs"


class Pack:
    """The pack, with the variables that suit this cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def variables(self) -> dict[str, object]:
        """Return the variables that `deploy` sets when not told otherwise."""
        cluster = self._cluster
        return {
            "driver": "raw_exec",
            "node_prefix": str(cluster.state.node),
            "task_user": cluster.task_account.name,
            "controller_user": cluster.task_account.name,
            "storage_dir": str(cluster.state.storage),
            "nomad_addr": cluster.nomad.address,
            "consul_addr": cluster.consul.address,
            "vault_addr": cluster.vault.address,
            "insecure_registries": [cluster.registry.host],
            "git_protocols": ["https", "ssh", "http"],
            "git_known_hosts": cluster.git_ssh.known_hosts,
            "pull_credentials_path": "secret/nomad-build-service/pull/base",
        }

    def deploy(
        self,
        variables: Mapping[str, object] | None = None,
        *,
        name: str = DEPLOYMENT,
        wait: bool = True,
    ) -> str:
        """Run `nomad-pack run` and, with `wait`, return the controller's address once healthy.

        The name is always given: without it nomad-pack makes one up from the pack's path.
        """
        values = {**self.variables(), **(variables or {})}
        file = self._cluster.state.config / f"pack-{name}.hcl"
        file.write_text("".join(f"{key} = {hcl(value)}\n" for key, value in values.items()))
        self.run("run", str(PACK), "--name", name, "-f", str(file))
        if not wait:
            return ""
        prefix = str(values.get("name_prefix", ""))
        return wait_for(
            "the controller is healthy",
            lambda: self.healthy_address(prefix),
            seconds=60,
            interval=0.1,
        )

    def destroy(self, *, name: str = DEPLOYMENT) -> None:
        """Run `nomad-pack destroy`: the pack's jobs are stopped and purged."""
        self.run("destroy", str(PACK), "--name", name)

    def run(self, *arguments: str) -> str:
        """Run nomad-pack with this cluster's Nomad; ClusterError with its words on failure."""
        state = self._cluster.state
        done = subprocess.run(
            [str(state.bin / "nomad-pack"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=state.root,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(state.root),
                "XDG_CACHE_HOME": str(state.root / "cache"),
                "NOMAD_ADDR": self._cluster.nomad.address,
                "NO_COLOR": "1",
            },
        )
        if done.returncode != 0:
            raise ClusterError(
                f"nomad-pack {' '.join(arguments)} ended with {done.returncode}:\n"
                f"{(done.stdout + done.stderr).strip()}"
            )
        return done.stdout

    def controller_address(self, name_prefix: str = "") -> str | None:
        """Return the controller's address as Consul's catalogue has it, or None."""
        url = f"{self._cluster.consul.address}/v1/health/service/{name_prefix}nomad-build-service"
        try:
            entries = get_json(url)
        except OSError:
            return None
        if not entries:
            return None
        service = entries[-1]["Service"]
        return f"http://{service['Address'] or '127.0.0.1'}:{service['Port']}"

    def healthy_address(self, name_prefix: str = "") -> str | None:
        """Return the address of a controller whose checks pass and which answers, or None."""
        url = (
            f"{self._cluster.consul.address}/v1/health/service/{name_prefix}nomad-build-service"
            "?passing=true"
        )
        for entry in get_json(url):
            service = entry["Service"]
            address = f"http://{service['Address'] or '127.0.0.1'}:{service['Port']}"
            if status_of(f"{address}/health") == 200:
                return address
        return None


def hcl(value: object) -> str:
    """Return a value in HCL's syntax; `${` and `%{` in strings are escaped."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")
