"""In Nomad: the ACL policy of the controller, bound to its job by workload identity."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import nomad.api.exceptions

import nomad

from ..paths import REPOSITORY
from .change import REMOVE, Change, Wanted, of_fields, of_text

FILE = REPOSITORY / "nomad" / "acl" / "nbs-controller.hcl"
GROUP = TASK = "controller"


def plan(client: Any, wanted: Wanted) -> Iterator[Change]:
    """Yield what differs in the policy of `client`'s Nomad (a python-nomad client)."""
    name = wanted.name_of(FILE.stem)
    rules = FILE.read_text().replace('namespace "default"', f'namespace "{wanted.namespace}"')
    bound = {
        "Namespace": wanted.namespace,
        "JobID": wanted.controller_job,
        "Group": GROUP,
        "Task": TASK,
    }
    policy = {
        "Name": name,
        "Description": "The controller of the Nomad Build Service",
        "Rules": rules,
        "JobACL": bound,
    }
    write = partial(client.acl.create_policy, name, policy)
    have = _policy(client, name)
    now = have["Rules"] if have else None
    changes = list(of_text(f"Nomad ACL policy {name}", now, rules, write))
    if not changes:
        what = f"job that Nomad ACL policy {name} is bound to"
        changes += of_fields(what, have and have.get("JobACL"), bound, write)
    yield from changes


def removal(client: Any, wanted: Wanted) -> Iterator[Change]:
    """Yield what of ours is there."""
    name = wanted.name_of(FILE.stem)
    if _policy(client, name) is not None:
        delete = partial(client.acl.delete_policy, name)
        yield Change(f"Nomad ACL policy {name}", REMOVE, "", delete)


def _policy(client: Any, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.acl.get_policy(name)
    except nomad.api.exceptions.URLNotFoundNomadException:
        return None
    return found
