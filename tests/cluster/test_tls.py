"""The controller's clients with real servers that speak TLS only, and ask for certificates."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builds import eventually

from cluster.certificates import Authority
from cluster.cluster import Cluster
from cluster.ports import Ports
from controller.clients.consul import ConsulClient
from controller.clients.nomad import NomadClient
from controller.clients.vault import Found, VaultClient
from controller.errors import ServiceError, UnavailableError
from controller.settings import load


@dataclass
class Files:
    """PEM files: an authority, a server's and a client's certificate that it signed."""

    directory: Path
    authority: Authority

    @classmethod
    def make(cls, directory: Path) -> Files:
        authority = Authority(directory / "ca.pem", directory / "ca-key.pem")
        for name in ("server", "client"):
            signed = authority.certificate(name)
            (directory / f"{name}.pem").write_text(signed.certificate)
            (directory / f"{name}-key.pem").write_text(signed.key)
        return cls(directory, authority)

    def __getitem__(self, name: str) -> str:
        return str(self.directory / name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@contextmanager
def running(program: Path, configuration: str, directory: Path) -> Iterator[None]:
    """Run an agent with this configuration."""
    file = directory / f"{program.name}.hcl"
    file.write_text(configuration)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(directory)}
    with (directory / f"{program.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "agent",
                f"-config={file}" if program.name == "nomad" else f"-config-file={file}",
            ],
            env=environ,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait(10)


def leader(make: Callable[[Any], Any], environ: Mapping[str, str]) -> str:
    """What the client of a server with these settings hears of its leader."""

    async def ask() -> str:
        client = make(load(environ, {}))
        try:
            return str(await client.leader())
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except ServiceError as error:
        return type(error).__name__


@pytest.mark.slow
def test_nomad_with_tls_for_both_sides(cluster: Cluster, files: Files, tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    http, rpc, serf = (ports.get(name) for name in ("http", "rpc", "serf"))
    configuration = f"""
data_dir = "{tmp_path}/data"
bind_addr = "127.0.0.1"
disable_update_check = true
ports {{
  http = {http}
  rpc  = {rpc}
  serf = {serf}
}}
advertise {{
  http = "127.0.0.1:{http}"
  rpc  = "127.0.0.1:{rpc}"
  serf = "127.0.0.1:{serf}"
}}
server {{
  enabled          = true
  bootstrap_expect = 1
}}
tls {{
  http                = true
  ca_file             = "{files["ca.pem"]}"
  cert_file           = "{files["server.pem"]}"
  key_file            = "{files["server-key.pem"]}"
  verify_https_client = true
}}
"""
    with running(cluster.state.bin / "nomad", configuration, tmp_path):
        address = {"NOMAD_ADDR": f"https://127.0.0.1:{http}"}
        trusting = address | {"NOMAD_CACERT": files["ca.pem"]}
        complete = trusting | {
            "NOMAD_CLIENT_CERT": files["client.pem"],
            "NOMAD_CLIENT_KEY": files["client-key.pem"],
        }
        eventually("a leader", lambda: leader(NomadClient, complete).startswith("127.0.0.1:"))
        assert leader(NomadClient, trusting) == UnavailableError.__name__
        assert leader(NomadClient, address) == UnavailableError.__name__
        foreign = Files.make(new(tmp_path / "foreign"))
        distrusting = complete | {"NOMAD_CACERT": foreign["ca.pem"]}
        assert leader(NomadClient, distrusting) == UnavailableError.__name__


@pytest.mark.slow
def test_consul_with_tls(cluster: Cluster, files: Files, tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    https = ports.get("https")
    configuration = f"""
data_dir = "{tmp_path}/data"
server = true
bootstrap_expect = 1
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
disable_update_check = true
ports {{
  http     = -1
  https    = {https}
  server   = {ports.get("server")}
  serf_lan = {ports.get("serf")}
  serf_wan = -1
  dns      = -1
  grpc     = -1
  grpc_tls = -1
}}
tls {{
  https {{
    ca_file   = "{files["ca.pem"]}"
    cert_file = "{files["server.pem"]}"
    key_file  = "{files["server-key.pem"]}"
  }}
}}
"""
    with running(cluster.state.bin / "consul", configuration, tmp_path):
        address = {"CONSUL_HTTP_ADDR": f"https://127.0.0.1:{https}"}
        trusting = address | {"CONSUL_CACERT": files["ca.pem"]}
        eventually("a leader", lambda: leader(ConsulClient, trusting).startswith("127.0.0.1:"))
        assert leader(ConsulClient, address) == UnavailableError.__name__


def test_vault_is_trusted_by_its_authority_only(cluster: Cluster, tmp_path: Path) -> None:
    """The cluster's own Vault speaks TLS only."""

    async def found(cacert: str) -> Found:
        client = VaultClient(load(cluster.env() | {"VAULT_CACERT": cacert}, {}))
        try:
            assert await client.sealed() is False
            return await client.exists("nomad-build-service/git/demo")
        finally:
            await client.close()

    assert asyncio.run(found(str(cluster.state.cacert))) is Found.YES
    foreign = Files.make(new(tmp_path / "foreign"))
    with pytest.raises(UnavailableError, match="vault"):
        asyncio.run(found(foreign["ca.pem"]))
    with pytest.raises(UnavailableError, match="vault"):
        asyncio.run(found(""))


def new(directory: Path) -> Path:
    directory.mkdir()
    return directory
