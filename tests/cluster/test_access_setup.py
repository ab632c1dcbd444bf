"""`scripts/access-setup` as an operator runs it: plan, apply, again, change, undo."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from operators import access_setup

from cluster.access import vault as access_vault
from cluster.access.change import Wanted
from cluster.cluster import Cluster


@pytest.fixture
def names(cluster: Cluster) -> Iterator[list[str]]:
    """Options for names of the test's own; what it sets up is taken back."""
    unique = f"t{uuid.uuid4().hex[:6]}"
    options = ["--role-prefix", unique, "--name-prefix", f"{unique}-", "--auth-mount", f"{unique}j"]
    yield options
    access_setup(cluster, *options, "--undo", "--apply")


def changes(cluster: Cluster, *options: str) -> list[tuple[str, str]]:
    done = access_setup(cluster, *options, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return [(one["action"], one["what"]) for one in found["changes"]]


def test_a_plan_changes_nothing_and_applying_twice_neither(
    cluster: Cluster, names: list[str]
) -> None:
    planned = changes(cluster, *names)
    assert changes(cluster, *names) == planned
    role = names[1]
    assert {
        ("create", f"Nomad ACL policy {role}-controller"),
        ("create", f"Vault role {role}-build"),
        ("create", f"Vault role {role}-publish"),
        ("create", f"Vault role {role}-controller"),
        ("create", f"Consul auth method {role}"),
        ("create", f"Consul binding rule of {role}"),
    } <= set(planned)
    shown = access_setup(cluster, *names)
    assert "nothing was changed" in shown.stdout
    assert '"dispatch-job",' in shown.stdout
    assert changes(cluster, *names, "--apply") == planned
    assert changes(cluster, *names) == []
    assert "nothing to change" in access_setup(cluster, *names, "--apply").stdout


@pytest.mark.slow
def test_the_controller_and_nobody_else_is_named(cluster: Cluster, names: list[str]) -> None:
    access_setup(cluster, *names, "--namespace", "builds", "--apply")
    role = names[1]
    policy = cluster.nomad.get(f"acl/policy/{role}-controller")
    assert policy["JobACL"] == {
        "Namespace": "builds",
        "JobID": f"{role}-nomad-build-service",
        "Group": "controller",
        "Task": "controller",
    }
    assert 'namespace "builds"' in policy["Rules"]
    vault = cluster.vault.client()
    for name, tasks in (("build", ["build", "source"]), ("controller", ["controller"])):
        claims = vault.read(f"auth/{names[5]}/role/{role}-{name}")["data"]["bound_claims"]
        assert claims["nomad_namespace"] == ["builds"]
        assert claims["nomad_task"] == tasks
        assert all(job.startswith(f"{role}-") for job in claims["nomad_job_id"])
    rules = cluster.consul.get(f"acl/binding-rules?authmethod={role}")
    assert [rule["Selector"] for rule in rules] == [
        'value.nomad_namespace == "builds" and '
        f'value.nomad_job_id == "{role}-nomad-build-service" and value.nomad_task == "controller"'
    ]


@pytest.mark.slow
def test_what_somebody_changed_is_shown_and_put_right(cluster: Cluster, names: list[str]) -> None:
    access_setup(cluster, *names, "--apply")
    policy = f"{names[1]}-publish"
    everything = 'path "secret/*" { capabilities = ["read"] }'
    cluster.vault.client().sys.create_or_update_policy(policy, everything)
    shown = access_setup(cluster, *names)
    assert f"update: Vault policy {policy}" in shown.stdout
    assert f"-{everything}" in shown.stdout
    assert changes(cluster, *names, "--apply") == [("update", f"Vault policy {policy}")]
    assert changes(cluster, *names) == []


@pytest.mark.slow
def test_undo_takes_back_what_is_ours_only(cluster: Cluster, names: list[str]) -> None:
    access_setup(cluster, *names, "--apply")
    vault = cluster.vault.client()
    mount = names[5]
    vault.write_data(
        f"auth/{mount}/role/theirs",
        data={"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["x"]},
    )
    planned = changes(cluster, *names, "--undo")
    assert {action for action, _ in planned} == {"remove"}
    assert ("remove", f"Vault auth method {mount}") not in planned
    assert changes(cluster, *names, "--undo", "--apply") == planned
    assert vault.read(f"auth/{mount}/role/theirs")
    vault.delete(f"auth/{mount}/role/theirs")
    assert changes(cluster, *names, "--undo", "--apply") == [
        ("remove", f"Vault auth method {mount}")
    ]
    assert changes(cluster, *names, "--undo") == []
    secrets = vault.secrets.kv.v2.list_secrets("nomad-build-service")["data"]["keys"]
    assert "git/" in secrets


def test_one_system_alone(cluster: Cluster, names: list[str]) -> None:
    found = changes(cluster, *names, "--only", "consul")
    assert found
    assert all(what.startswith("Consul") for _, what in found)


def test_what_refuses_is_named_without_a_trace(cluster: Cluster, names: list[str]) -> None:
    for variable, system in (
        ("NOMAD_TOKEN", "nomad"),
        ("VAULT_TOKEN", "vault"),
        ("CONSUL_HTTP_TOKEN", "consul"),
    ):
        secret = str(uuid.uuid4())
        done = access_setup(cluster, *names, "--only", system, **{variable: secret})
        assert done.returncode == 1
        assert done.stderr.startswith(f"access-setup: {system}: ")
        assert "Traceback" not in done.stderr
        assert secret not in done.stdout + done.stderr
    for variable, system in (
        ("NOMAD_ADDR", "nomad"),
        ("VAULT_ADDR", "vault"),
        ("CONSUL_HTTP_ADDR", "consul"),
    ):
        done = access_setup(cluster, *names, "--only", system, **{variable: "http://127.0.0.1:9"})
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "127.0.0.1" in done.stderr


def test_a_mount_of_another_kind_is_left_alone(cluster: Cluster) -> None:
    vault = cluster.vault.client()
    mount = f"kv1{uuid.uuid4().hex[:6]}"
    vault.sys.enable_secrets_engine("kv", path=mount, options={"version": "1"})
    try:
        done = access_setup(cluster, "--only", "vault", "--kv-mount", mount)
        assert done.returncode == 1
        assert "not a KV version 2 store" in done.stderr
    finally:
        vault.sys.disable_secrets_engine(mount)


def test_files_and_the_embedded_cluster_agree(cluster: Cluster) -> None:
    """The cluster that everything is tested on has what operators get."""
    jwks = f"{cluster.nomad.address}/.well-known/jwks.json"
    assert list(access_vault.plan(cluster.vault.client(), Wanted(jwks_url=jwks))) == []


def test_keys_that_others_rely_on_are_not_changed_by_accident(
    cluster: Cluster, names: list[str]
) -> None:
    """Nomad under another address would cut every workload off that logs in by the same method."""
    access_setup(cluster, *names, "--apply")
    vault, config = cluster.vault.client(), f"auth/{names[5]}/config"
    there = vault.read(config)["data"]
    vault.write_data(config, data={"jwks_url": there["jwks_url"], "default_role": "theirs"})
    elsewhere = {"NOMAD_ADDR": "http://nomad.example.com:4646"}
    for system in ("vault", "consul"):
        refused = access_setup(cluster, *names, "--only", system, "--apply", **elsewhere)
        assert refused.returncode == 1
        assert "--jwks-url" in refused.stderr
    assert vault.read(config)["data"]["jwks_url"] == there["jwks_url"]
    jwks = there["jwks_url"].replace("127.0.0.1", "localhost")
    meant = changes(cluster, *names, "--only", "vault", "--jwks-url", jwks, "--apply")
    assert meant == [("update", f"configuration of Vault auth method {names[5]}")]
    now = vault.read(config)["data"]
    assert (now["jwks_url"], now["default_role"]) == (jwks, "theirs")
