"""A Nomad agent, server and client in one, with ACLs, that keeps its data over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nomad

from ..account import Account
from ..errors import ClusterError
from ..http import get_json, put, status_of
from ..secrets_file import token
from ..waiting import wait_for
from .consul import Consul
from .docker import docker_host
from .server import Server, Surroundings

READY_SECONDS = 60
FIRST_TRY_SECONDS = 5


class Nomad(Server):
    """The Nomad agent."""

    name = "nomad"

    def __init__(
        self,
        surroundings: Surroundings,
        account: Account,
        *,
        consul: Consul,
        vault_address: str,
    ) -> None:
        super().__init__(surroundings, account)
        self._consul = consul
        self._vault_address = vault_address

    @property
    def address(self) -> str:
        """Return the URL of the HTTP API."""
        return f"http://127.0.0.1:{self.ports.get('nomad')}"

    @property
    def management_token(self) -> str:
        """Return the token that may do everything; it stays in the state directory."""
        return token(self.state.secrets, "nomad")

    @property
    def headers(self) -> dict[str, str]:
        """Return what a request needs to be let in, with every right."""
        return {"X-Nomad-Token": self.management_token}

    def get(self, path: str) -> Any:
        """Return the JSON answer to a GET below /v1; OSError when it does not succeed."""
        return get_json(f"{self.address}/v1/{path}", headers=self.headers)

    def prepare(self) -> Sequence[str]:
        """Write the configuration; return the command line."""
        lowest, highest = self.ports.dynamic_range()
        # Tasks of another user must be able to walk through here to their own directories.
        self.state.allocations.mkdir(exist_ok=True)
        self.state.allocations.chmod(0o711)
        config = self.render(
            "nomad.hcl",
            data_dir=self.data_directory(0o711),
            alloc_dir=self.state.allocations,
            alloc_mounts_dir=self.state.root / "m",
            http_port=self.ports.get("nomad"),
            rpc_port=self.ports.get("nomad-rpc"),
            serf_port=self.ports.get("nomad-serf"),
            min_dynamic_port=lowest,
            max_dynamic_port=highest,
            consul_address=self._consul.address.removeprefix("http://"),
            consul_token=self._consul.nomad_token,
            vault_address=self._vault_address,
            cacert=self.state.cacert,
            docker_host=docker_host(self.state),
        )
        return [str(self.state.bin / "nomad"), "agent", f"-config={config}"]

    def start(self) -> bool:
        """Bring the agent up; a first start that stumbles over itself is repeated once.

        On a first start the client may register in the tenth of a second between the server's
        election and the making of its keyring. It is refused, and tries again only after 15 to
        30 seconds; a restart is through in two.
        """
        first = not self.alive and not self.state.data(self.name).exists()
        self.ready_seconds = FIRST_TRY_SECONDS if first else READY_SECONDS
        try:
            return super().start()
        except ClusterError:
            if not (first and self.alive):
                raise
        self.stop()
        self.ready_seconds = READY_SECONDS
        return super().start()

    def ready(self) -> bool:
        """A leader is elected, and our node is ready with the raw_exec driver healthy."""
        if not get_json(f"{self.address}/v1/status/leader"):
            return False
        self._bootstrap()
        return any(
            node["Status"] == "ready"
            and (node.get("Drivers") or {}).get("raw_exec", {}).get("Healthy", False)
            for node in self.get("nodes")
        )

    def _bootstrap(self) -> None:
        """Give the management token its rights, the first time."""
        url = f"{self.address}/v1/acl"
        if status_of(f"{url}/token/self", headers=self.headers) != 200:
            put(f"{url}/bootstrap", {"BootstrapSecret": self.management_token})

    def client(self) -> Any:
        """Return a python-nomad client for set-up calls (it has no streaming worth using)."""
        return nomad.Nomad(  # type: ignore[attr-defined] # mypy takes our directory nomad/ for it
            host="127.0.0.1",
            port=self.ports.get("nomad"),
            token=self.management_token,
            secure=False,
            timeout=10,
        )

    def stop_jobs(self, *, seconds: float = 60) -> None:
        """Deregister every job and wait until no task of any allocation runs any more."""
        client = self.client()
        for job in client.jobs.get_jobs(namespace="*"):
            client.job.deregister_job(job["ID"], purge=True, namespace=job["Namespace"])
        wait_for(
            "every allocation's tasks ended", lambda: not self._running_tasks(), seconds=seconds
        )

    def _running_tasks(self) -> list[str]:
        return [
            f"{allocation['ID'][:8]}/{task}"
            for allocation in self.get("allocations?namespace=*")
            for task, state in (allocation.get("TaskStates") or {}).items()
            if state["State"] == "running"
        ]

    def node(self) -> dict[str, Any]:
        """Return the one node as the API describes it."""
        nodes: list[dict[str, Any]] = self.get("nodes")
        return nodes[0]
