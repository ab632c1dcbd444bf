"""Debian's docker-registry with a password: a real OCI registry, on plain HTTP of loopback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .. import skopeo
from ..http import status_of
from ..secrets_file import htpasswd_line, password
from .server import Server


class Registry(Server):
    """The OCI registry."""

    name = "registry"
    username = "builder"

    @property
    def host(self) -> str:
        """Return HOST:PORT, as image references begin."""
        return f"127.0.0.1:{self.ports.get('registry')}"

    @property
    def proxy_host(self) -> str:
        """Return HOST:PORT of where tests may put a proxy before the registry."""
        return f"127.0.0.1:{self.ports.get('registry-proxy')}"

    @property
    def address(self) -> str:
        """Return the registry's URL."""
        return f"http://{self.host}"

    @property
    def password(self) -> str:
        """Return the password of `username`."""
        return password(self.state.secrets, "registry")

    @property
    def credentials(self) -> skopeo.Credentials:
        """Return the login for skopeo and buildah."""
        return skopeo.Credentials(self.host, self.username, self.password)

    def prepare(self) -> Sequence[str]:
        """Write configuration and password file; return the command line."""
        users = self.state.config / "registry.htpasswd"
        if not users.exists():
            users = self.write_config(
                "registry.htpasswd", htpasswd_line(self.username, self.password)
            )
        config = self.render(
            "registry.yml",
            data_dir=self.data_directory(),
            port=self.ports.get("registry"),
            htpasswd=users,
            secret=password(self.state.secrets, "registry-upload-state"),
        )
        return ["docker-registry", "serve", str(config)]

    def ready(self) -> bool:
        """The API asks for the password, so both the listener and the login are there."""
        return status_of(f"{self.address}/v2/") == 401

    def tags(self, repository: str) -> list[str]:
        """Return the tags of `repository`, sorted; empty when it does not exist."""
        return skopeo.tags(self.credentials, repository)

    def manifest(self, repository: str, reference: str) -> dict[str, Any]:
        """Return the manifest that a tag or digest of `repository` names."""
        raw = skopeo.inspect(self.credentials, repository, reference, "--raw")
        manifest: dict[str, Any] = json.loads(raw)
        return manifest

    def digest(self, repository: str, reference: str) -> str:
        """Return `sha256:…` of the manifest that a tag names, computed from its bytes."""
        return skopeo.inspect(
            self.credentials, repository, reference, "--format", "{{.Digest}}"
        ).strip()

    def image_config(self, repository: str, reference: str) -> dict[str, Any]:
        """Return the image's OCI configuration (labels, env, command)."""
        raw = skopeo.inspect(self.credentials, repository, reference, "--config")
        config: dict[str, Any] = json.loads(raw)
        return config
