"""A Vault server with TLS and integrated storage, initialised and unsealed by us.

The unseal key and the root token lie in the state directory, mode 0600. That suits a demo on
loopback; a real Vault is unsealed by its operators.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import hvac

from ..certificates import Authority
from ..errors import ClusterError
from ..http import status_of
from ..waiting import wait_for
from .server import Server


class Vault(Server):
    """The Vault server."""

    name = "vault"

    @property
    def address(self) -> str:
        """Return the URL of the HTTP API."""
        return f"https://127.0.0.1:{self.ports.get('vault')}"

    @property
    def root_token(self) -> str:
        """Return the root token from the state directory."""
        return str(self._keys()["root_token"])

    def prepare(self) -> Sequence[str]:
        """Write the configuration; return the command line."""
        authority = Authority(self.state.cacert, self.state.secrets / "ca-key.pem")
        signed = authority.certificate("vault")
        config = self.render(
            "vault.hcl",
            certificate=self.write_config("vault.pem", signed.certificate),
            key=self.write_config("vault-key.pem", signed.key),
            data_dir=self.data_directory(),
            http_port=self.ports.get("vault"),
            cluster_port=self.ports.get("vault-cluster"),
        )
        return [str(self.state.bin / "vault"), "server", f"-config={config}"]

    def ready(self) -> bool:
        """The listener answers; 501 and 503 mean not initialised and sealed."""
        status = self._health("?standbyok=true")
        return status in (200, 501, 503)

    def after_ready(self) -> None:
        """Initialise Vault the first time, and unseal it each time."""
        client = hvac.Client(url=self.address, verify=str(self.state.cacert))
        file = self.state.secrets / "vault.json"
        if not client.sys.is_initialized():
            answer = client.sys.initialize(secret_shares=1, secret_threshold=1)
            keys = {"root_token": answer["root_token"], "unseal_key": answer["keys_base64"][0]}
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                json.dump(keys, stream)
        if client.sys.is_sealed():
            client.sys.submit_unseal_key(self._keys()["unseal_key"])
        wait_for(
            "vault unsealed and active",
            lambda: self._health() == 200,
            seconds=30,
            log=self.process.log,
        )

    def client(self) -> hvac.Client:
        """Return a client with the root token; the caller does not keep it."""
        return hvac.Client(url=self.address, token=self.root_token, verify=str(self.state.cacert))

    def _health(self, query: str = "") -> int:
        return status_of(f"{self.address}/v1/sys/health{query}", cacert=self.state.cacert)

    def _keys(self) -> dict[str, str]:
        file = self.state.secrets / "vault.json"
        try:
            keys: dict[str, str] = json.loads(file.read_text())
        except FileNotFoundError:
            raise ClusterError(
                f"Vault has data but its keys are gone ({file}); take the cluster down and start"
                " it again"
            ) from None
        return keys
