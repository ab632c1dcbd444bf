"""A single Consul server with a persistent data directory, whose ACLs deny by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..http import get_json, put, status_of
from ..secrets_file import token
from .server import Server

# What Consul's own agent and Nomad's agent may do, and nothing more.
_AGENT = 'node_prefix "" { policy = "write" }\nservice_prefix "" { policy = "read" }'
_NOMAD = """agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" }"""


class Consul(Server):
    """The Consul server."""

    name = "consul"

    @property
    def address(self) -> str:
        """Return the URL of the HTTP API."""
        return f"http://127.0.0.1:{self.ports.get('consul')}"

    @property
    def management_token(self) -> str:
        """Return the token that may do everything; it stays in the state directory."""
        return token(self.state.secrets, "consul")

    @property
    def nomad_token(self) -> str:
        """Return the token of Nomad's agent: it registers services."""
        return token(self.state.secrets, "consul-nomad")

    @property
    def headers(self) -> dict[str, str]:
        """Return what a request needs to be let in, with every right."""
        return {"X-Consul-Token": self.management_token}

    def get(self, path: str) -> Any:
        """Return the JSON answer to a GET below /v1; OSError when it does not succeed."""
        return get_json(f"{self.address}/v1/{path}", headers=self.headers)

    def prepare(self) -> Sequence[str]:
        """Write the configuration; return the command line."""
        config = self.render(
            "consul.hcl",
            data_dir=self.data_directory(),
            http_port=self.ports.get("consul"),
            server_port=self.ports.get("consul-rpc"),
            serf_port=self.ports.get("consul-serf"),
            management_token=self.management_token,
        )
        return [str(self.state.bin / "consul"), "agent", f"-config-file={config}"]

    def ready(self) -> bool:
        """A leader is elected, tokens are there, and the node is in the catalogue."""
        if not get_json(f"{self.address}/v1/status/leader"):
            return False
        return bool(self.get("catalog/nodes"))

    def after_ready(self) -> None:
        """Make the agents' tokens the first time."""
        if self._make_token("nbs-nomad-agent", _NOMAD, self.nomad_token):
            agent = token(self.state.secrets, "consul-agent")
            self._make_token("nbs-consul-agent", _AGENT, agent)
            self._put("agent/token/agent", {"Token": agent})  # Consul keeps it over restarts

    def _make_token(self, name: str, rules: str, secret: str) -> bool:
        """Make a policy and a token of it; False when the token is there already."""
        own = {"X-Consul-Token": secret}
        if status_of(f"{self.address}/v1/acl/token/self", headers=own) == 200:
            return False
        if status_of(f"{self.address}/v1/acl/policy/name/{name}", headers=self.headers) == 404:
            self._put("acl/policy", {"Name": name, "Rules": rules})
        made = {"SecretID": secret, "Description": name, "Policies": [{"Name": name}]}
        self._put("acl/token", made)
        return True

    def _put(self, path: str, document: dict[str, Any]) -> None:
        put(f"{self.address}/v1/{path}", document, headers=self.headers)
