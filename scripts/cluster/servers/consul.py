"""A single Consul server with a persistent data directory."""

from __future__ import annotations

from collections.abc import Sequence

from ..http import get_json
from .server import Server


class Consul(Server):
    """The Consul server."""

    name = "consul"

    @property
    def address(self) -> str:
        """Return the URL of the HTTP API."""
        return f"http://127.0.0.1:{self.ports.get('consul')}"

    def prepare(self) -> Sequence[str]:
        """Write the configuration; return the command line."""
        config = self.render(
            "consul.hcl",
            data_dir=self.data_directory(),
            http_port=self.ports.get("consul"),
            server_port=self.ports.get("consul-rpc"),
            serf_port=self.ports.get("consul-serf"),
        )
        return [str(self.state.bin / "consul"), "agent", f"-config-file={config}"]

    def ready(self) -> bool:
        """A leader is elected and the node is in the catalogue: registrations will be kept."""
        if not get_json(f"{self.address}/v1/status/leader"):
            return False
        return bool(get_json(f"{self.address}/v1/catalog/nodes"))
