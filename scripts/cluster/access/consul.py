"""In Consul: a policy and a role for the controller, and how its workload identity gets them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import httpx

from ..errors import ClusterError
from ..paths import REPOSITORY
from .change import CREATE, REMOVE, UPDATE, Change, Wanted, of_fields, of_text, require_jwks

FILE = REPOSITORY / "nomad" / "consul" / "nbs-controller.hcl"
ALGORITHMS = ["RS256", "ES256"]  # Consul knows no EdDSA
AUDIENCE = "consul.io"
CLAIMS = {name: name for name in ("nomad_namespace", "nomad_job_id", "nomad_task")}
# A controller that is killed leaves its token behind: so long it lives. A live one logs in again.
TOKEN_TTL = "24h0m0s"


class ConsulAcl:
    """Consul's ACL API. Methods raise ClusterError, and httpx.HTTPError where nobody answers."""

    def __init__(self, address: str, token: str, *, cacert: str = "") -> None:
        self._http = httpx.Client(
            base_url=f"{address}/v1/acl/",
            headers={"X-Consul-Token": token},
            timeout=10,
            trust_env=False,
            verify=ssl.create_default_context(cafile=cacert) if cacert else True,
        )

    def read(self, path: str) -> Any:
        """Return the document at `path`, or None."""
        return self._ask("GET", path)

    def write(self, path: str, document: Mapping[str, Any]) -> Any:
        """Create or update the document at `path`."""
        return self._ask("PUT", path, document)

    def delete(self, path: str) -> None:
        """Remove the document at `path`."""
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        answer = self._http.request(method, path, json=document)
        if method == "GET" and answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise ClusterError(f"Consul: {method} acl/{path} answered {answer.text.strip()}")
        return answer.json()


def plan(acl: ConsulAcl, wanted: Wanted) -> Iterator[Change]:
    """Yield what differs."""
    name, method = wanted.name_of(FILE.stem), wanted.role_prefix
    rules = FILE.read_text()
    have = acl.read(f"policy/name/{name}")
    path = f"policy/{have['ID']}" if have else "policy"
    write = partial(acl.write, path, {"Name": name, "Rules": rules})
    yield from of_text(f"Consul policy {name}", have and have["Rules"], rules, write)

    there = acl.read(f"role/name/{name}")
    if there is None or [one["Name"] for one in there["Policies"] or []] != [name]:
        role = {"Name": name, "Policies": [{"Name": name}]}
        path = f"role/{there['ID']}" if there else "role"
        action = UPDATE if there else CREATE
        yield Change(
            f"Consul role {name}", action, f"policy {name}", partial(acl.write, path, role)
        )

    config = {
        "JWKSURL": wanted.jwks_url,
        "JWTSupportedAlgs": ALGORITHMS,
        "BoundAudiences": [AUDIENCE],
        "ClaimMappings": CLAIMS,
    }
    have = acl.read(f"auth-method/{method}")
    if have:
        require_jwks(f"Consul auth method {method}", have["Config"].get("JWKSURL", ""), wanted)
    whole = {**(have["Config"] if have else {}), **config}  # a certificate authority, say
    document = {"Name": method, "Type": "jwt", "MaxTokenTTL": TOKEN_TTL, "Config": whole}
    path = f"auth-method/{method}" if have else "auth-method"
    write = partial(acl.write, path, document)
    yield from of_fields(f"Consul auth method {method}", have and have["Config"], config, write)

    selector = _selector(wanted)
    rules_there = _rules(acl, method) if have else []
    if not any(rule["Selector"] == selector for rule in rules_there):
        rule = {
            "AuthMethod": method,
            "BindType": "role",
            "BindName": name,
            "Selector": selector,
            "Description": "The controller of the Nomad Build Service",
        }
        make = partial(acl.write, "binding-rule", rule)
        yield Change(f"Consul binding rule of {method}", CREATE, f"{selector}\nrole {name}", make)


def removal(acl: ConsulAcl, wanted: Wanted) -> Iterator[Change]:
    """Yield what of ours is there; tokens of the auth method end with it."""
    name, method = wanted.name_of(FILE.stem), wanted.role_prefix
    if acl.read(f"auth-method/{method}") is not None:
        rules = _rules(acl, method)
        ours = [rule for rule in rules if rule["Selector"] == _selector(wanted)]
        if len(ours) < len(rules):  # another deployment logs in by it too
            for rule in ours:
                make = partial(acl.delete, f"binding-rule/{rule['ID']}")
                yield Change(f"Consul binding rule of {method}", REMOVE, rule["Selector"], make)
            return
        make = partial(acl.delete, f"auth-method/{method}")
        yield Change(
            f"Consul auth method {method}", REMOVE, "with its binding rules and tokens", make
        )
    for kind in ("role", "policy"):
        if (found := acl.read(f"{kind}/name/{name}")) is not None:
            yield Change(
                f"Consul {kind} {name}", REMOVE, "", partial(acl.delete, f"{kind}/{found['ID']}")
            )


def _rules(acl: ConsulAcl, method: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = acl.read(f"binding-rules?authmethod={method}")
    return found


def _selector(wanted: Wanted) -> str:
    claims = {
        "nomad_namespace": wanted.namespace,
        "nomad_job_id": wanted.controller_job,
        "nomad_task": "controller",
    }
    return " and ".join(f'value.{name} == "{value}"' for name, value in claims.items())
