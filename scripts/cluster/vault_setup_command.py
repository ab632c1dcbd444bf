"""`scripts/vault-setup`: what an operator runs once against their own Vault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hvac
import hvac.exceptions
import requests.exceptions

from .errors import ClusterError
from .vault_setup import VaultSetup, apply


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what would change and, with --apply, change it; returns the exit code."""
    values = _parser().parse_args(arguments)
    wanted = VaultSetup(
        jwks_url=values.jwks_url,
        kv_mount=values.kv_mount,
        auth_mount=values.auth_mount,
        namespace=values.namespace,
        name_prefix=values.name_prefix,
        role_prefix=values.role_prefix,
    )
    address = os.environ.get("VAULT_ADDR")
    if not address:
        return _fail("set VAULT_ADDR to your Vault's address")
    try:
        client = hvac.Client(
            url=address, token=_token(), namespace=os.environ.get("VAULT_NAMESPACE")
        )
        changes = apply(client, wanted, dry_run=not values.apply)
    except ClusterError as error:
        return _fail(str(error))
    except hvac.exceptions.VaultError as error:
        return _fail(f"Vault at {address} refused: {error}")
    except requests.exceptions.RequestException as error:
        return _fail(f"Vault at {address} does not answer: {error}")
    for change in changes:
        print(f"{change.action}: {change.what}")
    if not changes:
        print("nothing to change")
    elif not values.apply:
        print("nothing was changed; run it again with --apply")
    return 0


def _token() -> str:
    """Return the token as Vault's own CLI finds it: VAULT_TOKEN, else ~/.vault-token."""
    token = os.environ.get("VAULT_TOKEN")
    if token:
        return token
    try:
        return (Path.home() / ".vault-token").read_text().strip()
    except FileNotFoundError:
        raise ClusterError("set VAULT_TOKEN, or log in with `vault login`") from None


def _fail(message: str) -> int:
    print(f"vault-setup: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vault-setup",
        description="Set up Vault for the build service. Without --apply it only shows what it"
        " would change. Doing it twice changes nothing.",
    )
    parser.add_argument(
        "--jwks-url",
        required=True,
        metavar="URL",
        help="where Vault reads the keys of Nomad's workload identities:"
        " http(s)://NOMAD:4646/.well-known/jwks.json",
    )
    parser.add_argument("--apply", action="store_true", help="make the changes")
    parser.add_argument("--kv-mount", default="secret", help="KV v2 mount (%(default)s)")
    parser.add_argument("--auth-mount", default="jwt-nomad", help="JWT auth mount (%(default)s)")
    parser.add_argument("--namespace", default="default", help="Nomad namespace (%(default)s)")
    parser.add_argument("--name-prefix", default="", help="the pack's name_prefix")
    parser.add_argument("--role-prefix", default="nbs", help="the pack's vault_role_prefix")
    return parser


if __name__ == "__main__":
    sys.exit(main())
