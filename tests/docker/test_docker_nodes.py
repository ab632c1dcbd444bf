"""Nodes that are not as driver docker needs them: said within seconds, by name."""

from __future__ import annotations

import time
from typing import Any

from builds import Builds
from copies import copy_of_image_build, outcome


def failure_of(builds: Builds, name: str) -> tuple[dict[str, Any], float]:
    """The failure of a build by the copy `name`, and the seconds that its build task took."""
    began = time.monotonic()
    request = builds.request(builds.dockerfile("RUN true"))
    ended = builds.await_end(builds.dispatch(request, name))
    took = time.monotonic() - began
    assert builds.tags(request) == []
    failure: dict[str, Any] = outcome(builds, ended)["failure"]
    return failure, took


def test_dockers_own_seccomp_profile(builds: Builds) -> None:
    """With it, making namespaces does not fail but hang."""

    def change(task: dict[str, Any]) -> None:
        task["Config"]["security_opt"] = []

    with copy_of_image_build(builds, change) as name:
        failure, took = failure_of(builds, name)
    assert failure["reason"] == "UserNamespaceUnavailable", failure
    assert "seccomp" in failure["message"]
    assert took < 30


def test_without_the_capabilities_of_newuidmap(builds: Builds) -> None:
    def change(task: dict[str, Any]) -> None:
        task["Config"]["cap_add"] = []

    with copy_of_image_build(builds, change) as name:
        failure, _ = failure_of(builds, name)
    assert failure["reason"] == "UserNamespaceUnavailable", failure


def test_without_the_tun_device(builds: Builds) -> None:
    """No egress sandbox can be had: the build is refused, not run on a wider network."""

    def change(task: dict[str, Any]) -> None:
        task["Config"].pop("devices", None)

    with copy_of_image_build(builds, change) as name:
        failure, _ = failure_of(builds, name)
    assert failure["reason"] == "NetworkIsolationUnavailable", failure
    assert "tun" in failure["message"]
