"""Deploying the pack on the embedded cluster with the real nomad-pack."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ClusterError
from .http import put, status_of
from .paths import REPOSITORY
from .waiting import tail, wait_for

if TYPE_CHECKING:
    from .cluster import Cluster

PACK = REPOSITORY / "packs" / "nomad_build_service"
DEPLOYMENT = "nbs"
SERVICE = "nomad-build-service"


class Pack:
    """The pack, with the variables that suit this cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def variables(self) -> dict[str, object]:
        """Return the variables that `deploy` sets when not told otherwise."""
        cluster = self._cluster
        return {
            "driver": "raw_exec",
            "auth_mode": "none",  # it serves on loopback only
            "node_prefix": str(cluster.state.node),
            "task_user": cluster.task_user,
            "controller_user": cluster.task_user,
            "storage_dir": str(cluster.state.storage),
            "consul_addr": cluster.consul.address,
            "vault_addr": cluster.vault.address,
            "vault_cacert": str(cluster.state.cacert),
            # The second is a proxy that tests put before the registry; nobody listens else.
            "insecure_registries": [cluster.registry.host, cluster.registry.proxy_host],
            "git_protocols": ["https", "ssh", "http"],
            "git_known_hosts": cluster.git_ssh.known_hosts,
            "pull_credentials_path": "secret/nomad-build-service/pull/base",
            "intermediate_repository": f"{cluster.registry.host}/nbs/intermediate",
            "intermediate_credentials_path": "secret/nomad-build-service/intermediate/demo",
        }

    def deploy(
        self,
        variables: Mapping[str, object] | None = None,
        *,
        name: str = DEPLOYMENT,
        force: bool = False,
    ) -> str:
        """Run `nomad-pack run` and return the controller's address once it is healthy.

        Nothing is run when the same pack with the same variables was deployed already and its
        controller is healthy, unless `force`. The name is always given: without it nomad-pack
        makes one up from the pack's path.
        """
        values = {**self.variables(), **(variables or {})}
        prefix = str(values.get("name_prefix", ""))
        stamp = self._cluster.state.config / f"pack-{name}.sha256"
        wanted = self._digest(values)
        current = stamp.read_text() if stamp.exists() else ""
        if force or current != wanted or not self.healthy_address(prefix):
            file = self.variables_file(values, name)
            before = self._controller_allocations(prefix)
            self.run("run", str(PACK), "--name", name, "-f", str(file))
            # Changed code of the controller changes nothing in its job, so Nomad leaves it be.
            for allocation in before & self._controller_allocations(prefix):
                self._restart(allocation)
            stamp.write_text(wanted)
        return self.wait_healthy(prefix)

    def _restart(self, allocation: str) -> None:
        nomad = self._cluster.nomad
        put(
            f"{nomad.address}/v1/client/allocation/{allocation}/restart",
            headers=nomad.headers,
        )

    def destroy(self, *, name: str = DEPLOYMENT) -> None:
        """Run `nomad-pack destroy`: the pack's jobs are stopped and purged.

        It renders the pack to learn the jobs' names, so it needs the variables of the deployment.
        """
        file = self._cluster.state.config / f"pack-{name}.hcl"
        self.run("destroy", str(PACK), "--name", name, "-f", str(file))
        (self._cluster.state.config / f"pack-{name}.sha256").unlink(missing_ok=True)

    def variables_file(self, values: Mapping[str, object], name: str = DEPLOYMENT) -> Path:
        """Write the variables as nomad-pack reads them with `-f`, and return the file."""
        file = self._cluster.state.config / f"pack-{name}.hcl"
        file.write_text("".join(f"{key} = {hcl(value)}\n" for key, value in values.items()))
        return file

    def run(self, *arguments: str, seconds: float = 120) -> str:
        """Run nomad-pack with this cluster's Nomad; ClusterError with its words on failure."""
        state = self._cluster.state
        command = f"nomad-pack {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [str(state.bin / "nomad-pack"), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
                cwd=state.root,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(state.root),
                    "XDG_CACHE_HOME": str(state.root / "cache"),
                    "NOMAD_ADDR": self._cluster.nomad.address,
                    "NOMAD_TOKEN": self._cluster.nomad.management_token,
                    "NO_COLOR": "1",
                },
            )
        except subprocess.TimeoutExpired as expired:
            words = (expired.stdout or b"").decode(errors="replace").strip()
            raise ClusterError(
                f"{command} did not end within {seconds:g} s:\n{words}\n{self._controller_words()}"
            ) from None
        if done.returncode != 0:
            words = (done.stdout + done.stderr).strip()
            raise ClusterError(
                f"{command} ended with {done.returncode}:\n{words}\n{self._controller_words()}"
            )
        return done.stdout

    def wait_healthy(self, name_prefix: str = "", *, seconds: float = 60) -> str:
        """Wait until a controller's checks pass and it answers; return its address."""
        try:
            address = wait_for(
                "the controller is healthy",
                lambda: self.healthy_address(name_prefix),
                seconds=seconds,
                interval=0.1,
            )
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self._controller_words()}") from None
        assert address is not None
        return address

    def controller_address(self, name_prefix: str = "") -> str | None:
        """Return the controller's address as Consul's catalogue has it, healthy or not."""
        try:
            entries = self._entries(name_prefix, "")
        except OSError:
            return None
        return _address(entries[-1]) if entries else None

    def healthy_address(self, name_prefix: str = "") -> str | None:
        """Return the address of a controller whose checks pass and which answers, or None."""
        for entry in self._entries(name_prefix, "?passing=true"):
            address = _address(entry)
            try:
                if status_of(f"{address}/health") == 200:
                    return address
            except OSError:
                continue  # just gone; Consul has not noticed yet
        return None

    def _entries(self, name_prefix: str, query: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._cluster.consul.get(
            f"health/service/{name_prefix}{SERVICE}{query}"
        )
        return entries

    def _controller_allocations(self, name_prefix: str) -> set[str]:
        """Return the ids of the running allocations of the controller's job."""
        found = self._cluster.nomad.get("allocations?namespace=*")
        return {
            allocation["ID"]
            for allocation in found
            if allocation["JobID"] == name_prefix + SERVICE
            and allocation["ClientStatus"] == "running"
        }

    def _controller_words(self) -> str:
        """Return the end of the newest controller's stderr, for errors."""
        logs = sorted(
            self._cluster.state.allocations.glob("*/alloc/logs/controller.stderr.0"),
            key=lambda path: path.stat().st_mtime,
        )
        return f"end of {logs[-1]}:\n{tail(logs[-1])}" if logs else "no controller was started"

    def _digest(self, values: Mapping[str, object]) -> str:
        """Return a digest of everything a deployment depends on.

        The controller's code counts as well: it is no part of the pack, but a changed one runs
        only after the job was run again. It is what is installed: the repository may be ahead.
        """
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        for root in (PACK, self._cluster.state.node / "lib" / "controller"):
            for path in sorted(root.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    digest.update(str(path).encode() + path.read_bytes())
        return digest.hexdigest()


def _address(entry: Mapping[str, Any]) -> str:
    service = entry["Service"]
    return f"http://{service['Address'] or '127.0.0.1'}:{service['Port']}"


def hcl(value: object) -> str:
    """Return a value in HCL's syntax; `${` and `%{` in strings are escaped."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")
