"""`scripts/access-setup`: what an operator runs once against their own Nomad, Vault and Consul."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import hvac
import hvac.exceptions
import nomad.api.exceptions
import requests.exceptions

import nomad

from ..errors import ClusterError
from . import consul as in_consul
from . import nomad as in_nomad
from . import vault as in_vault
from .change import Change, Wanted

Environment = Mapping[str, str]
SYSTEMS = ("nomad", "vault", "consul")


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what would change and, with --apply, change it; returns the exit code."""
    values = _parser().parse_args(arguments)
    wanted = Wanted(
        jwks_url=values.jwks_url or f"{_nomad_address(os.environ)}/.well-known/jwks.json",
        may_change_jwks=bool(values.jwks_url),
        namespace=values.namespace,
        name_prefix=values.name_prefix,
        role_prefix=values.role_prefix,
        auth_mount=values.auth_mount,
        kv_mount=values.kv_mount,
    )
    done: list[Change] = []
    for system in values.only or SYSTEMS:
        try:
            for change in _CHANGES[system](os.environ, wanted, values.undo):
                if values.apply:
                    change.make()
                done.append(change)
                if not values.json:
                    print(_shown(change, with_detail=not values.apply))
        except _UNREACHABLE as error:
            name, default = _ADDRESSES[system]
            address = os.environ.get(name, default)
            print(f"access-setup: {system} at {address} ({name}): {error}", file=sys.stderr)
            return 1
        except (ClusterError, *_REFUSALS) as error:
            print(f"access-setup: {system}: {_words(error)}", file=sys.stderr)
            return 1
    if values.json:
        said = [{"what": one.what, "action": one.action, "detail": one.detail} for one in done]
        print(json.dumps({"applied": values.apply, "changes": said}, indent=2))
    elif not done:
        print("nothing to change")
    elif not values.apply:
        print("\nnothing was changed; run it again with --apply")
    return 0


def _in_nomad(environ: Environment, wanted: Wanted, undo: bool) -> Iterator[Change]:
    address = urlsplit(_nomad_address(environ))
    client = nomad.Nomad(  # type: ignore[attr-defined] # mypy takes our directory nomad/ for it
        host=address.hostname,
        port=address.port or 4646,
        secure=address.scheme == "https",
        verify=environ.get("NOMAD_CACERT") or True,
        cert=_pair(environ, "NOMAD_CLIENT_CERT", "NOMAD_CLIENT_KEY"),
        token=environ.get("NOMAD_TOKEN"),
        timeout=10,
    )
    return (in_nomad.removal if undo else in_nomad.plan)(client, wanted)


def _in_vault(environ: Environment, wanted: Wanted, undo: bool) -> Iterator[Change]:
    client = hvac.Client(
        url=environ.get(*_ADDRESSES["vault"]),
        token=_vault_token(environ),
        namespace=environ.get("VAULT_NAMESPACE"),
        verify=environ.get("VAULT_CACERT") or True,
    )
    return (in_vault.removal if undo else in_vault.plan)(client, wanted)


def _in_consul(environ: Environment, wanted: Wanted, undo: bool) -> Iterator[Change]:
    address = environ.get(*_ADDRESSES["consul"])
    acl = in_consul.ConsulAcl(
        address if "://" in address else f"http://{address}",
        environ.get("CONSUL_HTTP_TOKEN", ""),
        cacert=environ.get("CONSUL_CACERT", ""),
    )
    return (in_consul.removal if undo else in_consul.plan)(acl, wanted)


_CHANGES: dict[str, Callable[[Environment, Wanted, bool], Iterator[Change]]] = {
    "nomad": _in_nomad,
    "vault": _in_vault,
    "consul": _in_consul,
}
_ADDRESSES = {
    "nomad": ("NOMAD_ADDR", "http://127.0.0.1:4646"),
    "vault": ("VAULT_ADDR", "https://127.0.0.1:8200"),
    "consul": ("CONSUL_HTTP_ADDR", "http://127.0.0.1:8500"),
}
_UNREACHABLE = (requests.exceptions.RequestException, httpx.HTTPError, OSError)
_REFUSALS = (nomad.api.exceptions.BaseNomadException, hvac.exceptions.VaultError)


def _words(error: Exception) -> str:
    if isinstance(error, nomad.api.exceptions.BaseNomadException):
        return str(getattr(error.nomad_resp, "text", error.nomad_resp)).strip()
    return str(error)


def _shown(change: Change, *, with_detail: bool) -> str:
    detail = textwrap.indent(change.detail, "    ") if with_detail else ""
    return f"{change}\n{detail}".rstrip()


def _nomad_address(environ: Environment) -> str:
    return environ.get(*_ADDRESSES["nomad"]).rstrip("/")


def _vault_token(environ: Environment) -> str:
    """Return the token as Vault's own CLI finds it: VAULT_TOKEN, else ~/.vault-token."""
    if token := environ.get("VAULT_TOKEN"):
        return token
    try:
        return (Path.home() / ".vault-token").read_text().strip()
    except FileNotFoundError:
        raise ClusterError("set VAULT_TOKEN, or log in with `vault login`") from None


def _pair(environ: Environment, certificate: str, key: str) -> tuple[str, str] | tuple[()]:
    if environ.get(certificate) and environ.get(key):
        return environ[certificate], environ[key]
    return ()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="access-setup",
        description="Set up who may do what for the build service in Nomad, Vault and Consul, by"
        " workload identity. Without --apply it only shows what it would change. Doing it twice"
        " changes nothing. Addresses and tokens come from the variables that the programs"
        " themselves read: NOMAD_ADDR, NOMAD_TOKEN, NOMAD_CACERT, VAULT_ADDR, VAULT_TOKEN,"
        " VAULT_CACERT, CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT …",
    )
    parser.add_argument("--apply", action="store_true", help="make the changes")
    parser.add_argument(
        "--undo", action="store_true", help="take back what was set up; secrets stay"
    )
    parser.add_argument(
        "--only", action="append", choices=SYSTEMS, help="this system only; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--jwks-url",
        metavar="URL",
        help="where Vault and Consul read the keys of Nomad's workload identities"
        " (NOMAD_ADDR/.well-known/jwks.json)",
    )
    parser.add_argument("--kv-mount", default="secret", help="KV v2 mount (%(default)s)")
    parser.add_argument("--auth-mount", default="jwt-nomad", help="JWT auth mount (%(default)s)")
    parser.add_argument("--namespace", default="default", help="Nomad namespace (%(default)s)")
    parser.add_argument("--name-prefix", default="", help="the pack's name_prefix")
    parser.add_argument(
        "--role-prefix",
        default="nbs",
        help="the pack's vault_role_prefix and consul_auth_method (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
