"""How an answer says to run the failed command in the image that was kept."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from controller.status import intermediate
from controller.status.build import Build, Status

KEPT = {
    "reference": "registry.example.com:5000/kept:default.image-build.1-a",
    "digest": f"sha256:{'a' * 64}",
}
IMAGE = f"registry.example.com:5000/kept@{KEPT['digest']}"


def build(command: str, **test: Any) -> Build:
    return Build(
        "default.image-build.1-a",
        "image-build/dispatch-1-a",
        Status.FAILED,
        config={"test": {"network": "none", "env": {}, **test}},
        failure={"phase": "test", "command": command},
        intermediate=KEPT,
    )


@pytest.mark.parametrize(
    ("told", "commands", "words"),
    [
        ("a 'b' $c", ["x", "a 'b' $c"], ["--entrypoint", "/bin/sh", IMAGE, "-c", "a 'b' $c"]),
        ('["/p", "-q x"]', [["/p", "-q x"]], ["--entrypoint", "/p", IMAGE, "-q x"]),
        ("the image's entry point", [], [IMAGE]),
    ],
)
def test_each_form_of_a_command(told: str, commands: list[Any], words: list[str]) -> None:
    found = intermediate.reproduction(build(told, commands=commands))
    assert found is not None
    assert found["pull"] == f"docker pull {IMAGE}"
    assert shlex.split(found["run"]) == ["docker", "run", "--rm", "--network", "none", *words]


def test_the_environment_is_named_and_never_shown() -> None:
    env = {"LEVEL": "(hidden)"}
    found = intermediate.reproduction(build("x", commands=["x"], env=env, network="egress"))
    assert found is not None
    assert shlex.split(found["run"])[:5] == ["docker", "run", "--rm", "--env", "LEVEL"]
    assert "hidden" not in found["run"]


def test_a_problem_is_all_that_is_told() -> None:
    assert intermediate.shown({"problem": {"reason": "X"}}) == {"problem": {"reason": "X"}}
    assert intermediate.shown(None) is None
