"""A platform that the node has only by emulation: the image brings the emulator."""

from __future__ import annotations

import foreign_base
from builds import Builds


def test_both_platforms_are_built_and_tested(builds: Builds) -> None:
    base = foreign_base.make(builds.cluster)
    repository = builds.repository({"Dockerfile": f"FROM {base}\nRUN uname -m > /machine\n"})
    request = builds.request(
        repository,
        platforms=["linux/amd64", "linux/arm64"],
        test_commands=['test "$(uname -m)" = "$(cat /machine)"', "cat /machine"],
    )
    status = builds.run(request, "SUCCEEDED")
    said = builds.logs(status["job_id"])["test"]
    assert [line for line in said if line in ("x86_64", "aarch64")] == ["x86_64", "aarch64"]
