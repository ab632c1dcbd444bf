"""What is in the image `nomad-build-service`, as the engine sees it."""

from __future__ import annotations

import json

from cluster.image import DEFAULT_NAME
from cluster.servers.docker import Docker
from controller import __version__


def inside(engine: Docker, *command: str) -> str:
    return engine.run("run", "--rm", "--network", "none", DEFAULT_NAME, *command).stdout


def test_runs_as_an_ordinary_user_with_subordinate_ids(engine: Docker) -> None:
    assert inside(engine, "id", "-u").strip() == "1000"
    assert inside(engine, "cat", "/etc/subuid", "/etc/subgid") == "build:100000:65536\n" * 2


def test_newuidmap_has_file_capabilities_and_is_not_setuid(engine: Docker) -> None:
    """The capabilities survived Buildah's commit and the engine's load."""
    said = inside(engine, "getcap", "/usr/bin/newuidmap", "/usr/bin/newgidmap").splitlines()
    assert [line.split() for line in said] == [
        ["/usr/bin/newuidmap", "cap_setuid=ep"],
        ["/usr/bin/newgidmap", "cap_setgid=ep"],
    ]
    modes = inside(engine, "stat", "--format=%a", "/usr/bin/newuidmap", "/usr/bin/newgidmap")
    assert modes.split() == ["755", "755"]


def test_every_program_that_a_phase_runs_is_there(engine: Docker) -> None:
    for argv in (
        ["buildah", "--version"],
        ["git", "--version"],
        ["git-lfs", "version"],
        ["ssh", "-V"],
        ["skopeo", "--version"],
        ["slirp4netns", "--version"],
        ["/usr/lib/podman/netavark", "--version"],
        ["ip", "-V"],
        ["nbs", "--help"],
    ):
        inside(engine, *argv)


def test_policy_lets_registries_through_only(engine: Docker) -> None:
    policy = json.loads(inside(engine, "cat", "/etc/containers/policy.json"))
    assert policy["default"] == [{"type": "reject"}]
    assert list(policy["transports"]) == ["docker"]


def test_labels_say_what_it_is(engine: Docker) -> None:
    labels = json.loads(engine.run("inspect", DEFAULT_NAME).stdout)[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "nomad-build-service"
    assert labels["org.opencontainers.image.version"] == __version__
