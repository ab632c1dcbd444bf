"""Why the first step that was not in the cache was not: what a build says of the one before it."""

from __future__ import annotations

import hashlib
import shutil
import time
from typing import Any

import pytest
from builds import Builds

from cluster.git_repository import GitRepository

pytestmark = pytest.mark.slow

FILES = {
    "app/main": "one",
    "app/other": "two",
    "unused": "three",
    "notes.log": "four",
    ".dockerignore": "*.log\n",
}


def dockerfile(builds: Builds, run: str = "RUN echo built") -> str:
    return (
        f"FROM {builds.cluster.base_image}\nARG VERSION=1\nRUN echo $VERSION\n"
        f"COPY app /app\n{run}\nRUN echo last\n"
    )


def first_miss(builds: Builds, repository: GitRepository, **fields: Any) -> dict[str, Any] | None:
    status = builds.run(builds.request(repository, **fields), "SUCCEEDED")
    found = status["cache"].get("first_miss")
    if found:
        assert found["reason"] in builds.text(status["job_id"])
    return found


def test_each_reason_in_one_history(builds: Builds) -> None:
    owner = f"reasons-{time.monotonic_ns()}"
    files = {"Dockerfile": dockerfile(builds), **FILES}
    repository = builds.repository(files)

    new = first_miss(builds, repository, owner=owner)
    assert new is not None
    assert (new["reason"], new["dockerfile_line"]) == ("NotBuiltHere", 2)

    repository.push(files | {"unused": "changed", "notes.log": "changed"})
    assert first_miss(builds, repository, owner=owner) is None

    repository.push(files | {"app/other": "changed", "notes.log": "again"})
    changed = first_miss(builds, repository, owner=owner)
    assert changed == {
        "step": "COPY app /app",
        "dockerfile_line": 4,
        "reason": "FilesChanged",
        "message": "app/other changed",
    }

    repository.push(files | {"app/other": "changed", "Dockerfile": dockerfile(builds, "RUN :")})
    edited = first_miss(builds, repository, owner=owner)
    assert edited is not None
    assert (edited["reason"], edited["dockerfile_line"]) == ("InstructionChanged", 5)
    assert "'RUN echo built'" in edited["message"]

    given = first_miss(builds, repository, owner=owner, build_args={"VERSION": "2"})
    assert given is not None
    assert (given["reason"], given["dockerfile_line"]) == ("BuildArgChanged", 3)
    assert "VERSION" in given["message"]

    longer = dockerfile(builds, "RUN :") + "RUN echo more\n"
    repository.push(files | {"app/other": "changed", "Dockerfile": longer})
    further = first_miss(builds, repository, owner=owner, build_args={"VERSION": "2"})
    assert further is not None
    assert (further["reason"], further["dockerfile_line"]) == ("NotBuiltBefore", 7)

    cleared = first_miss(builds, repository, owner=owner, clear_cache=True)
    assert cleared is not None
    assert cleared["reason"] == "CacheCleared"

    storage = builds.cluster.state.storage / hashlib.sha256(owner.encode()).hexdigest()[:16]
    shutil.rmtree(storage / "root")
    gone = first_miss(builds, repository, owner=owner)
    assert gone is not None
    assert gone["reason"] == "LayersGone"

    for record in (storage / "steps").iterdir():
        record.write_text("[" * 100_000)
    spoiled = first_miss(builds, repository, owner=owner, build_args={"VERSION": "3"})
    assert spoiled is not None
    assert spoiled["reason"] == "NotBuiltHere"


@pytest.mark.parametrize("through_stage", [False, True], ids=["directly", "through-a-stage"])
def test_another_base_image_is_named(builds: Builds, through_stage: bool) -> None:
    base = f"{builds.cluster.registry.host}/t/base-{time.monotonic_ns()}"
    middle = "FROM base AS middle\n" if through_stage else ""
    found = after_a_change_of(
        builds,
        base,
        f"FROM {base}:v1 AS base\n{middle}"
        f"FROM {'middle' if through_stage else 'base'}\nRUN cat /mark\n",
    )
    assert found["reason"] == "BaseImageChanged"
    assert f"{base}:v1" in found["message"]


@pytest.mark.parametrize("through_stage", [False, True], ids=["directly", "through-a-stage"])
def test_another_source_of_a_copy_is_named(builds: Builds, through_stage: bool) -> None:
    base = f"{builds.cluster.registry.host}/t/base-{time.monotonic_ns()}"
    tool = f"FROM {base}:v1 AS tool\n" if through_stage else ""
    source = "tool" if through_stage else f"{base}:v1"
    found = after_a_change_of(
        builds,
        base,
        f"{tool}FROM {builds.cluster.base_image}\nRUN echo before\n"
        f"COPY --from={source} /mark /mark\nRUN cat /mark\n",
    )
    assert found["reason"] == "SourceChanged"
    assert found["step"] == f"COPY --from={source} /mark /mark"
    assert source in found["message"]


def after_a_change_of(builds: Builds, base: str, dockerfile: str) -> dict[str, Any]:
    """The first miss of a Dockerfile that was built before `base` became another image."""
    made = builds.repository(
        {"Dockerfile": f"FROM {builds.cluster.base_image}\nARG MARK\nRUN echo $MARK > /mark\n"}
    )
    publish = {"registry_url": base.rpartition("/")[0], "image_name": base.rpartition("/")[2]}
    repository = builds.repository({"Dockerfile": dockerfile})
    owner = f"bases-{time.monotonic_ns()}"
    found = None
    for mark in ("one", "two"):
        builds.run(builds.request(made, build_args={"MARK": mark}, **publish), "SUCCEEDED")
        found = first_miss(builds, repository, owner=owner)
    assert found is not None
    return found
