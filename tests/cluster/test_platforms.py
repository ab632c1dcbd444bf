"""Images for several platforms: built and tested under emulation, published as one list."""

from __future__ import annotations

import json
from typing import Any

import foreign_base
import pytest
from builds import Builds

from cluster import skopeo
from cluster.cluster import Cluster

pytestmark = pytest.mark.slow
BOTH = ["linux/amd64", "linux/arm64"]


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> str:
    """An image that is there for both platforms."""
    return foreign_base.make(cluster)


def test_both_are_built_tested_and_published_as_one(builds: Builds, base: str) -> None:
    repository = builds.repository(
        {
            "Dockerfile": f"FROM --platform=$BUILDPLATFORM {base} AS tool\n"
            "ARG TARGETARCH\n"
            "RUN uname -m > /built-on; echo $TARGETARCH > /built-for\n"
            f"FROM {base}\n"
            "COPY --from=tool /built-on /built-for /\n"
            "RUN uname -m > /machine\n"
        }
    )
    request = builds.request(
        repository, platforms=BOTH, test={"commands": ["uname -m; cat /built-for /machine"]}
    )
    status = builds.run(request, "SUCCEEDED")
    index = _raw(builds, f"{status['image']}@{status['digest']}")
    found = {
        f"{one['platform']['os']}/{one['platform']['architecture']}": one["digest"]
        for one in index["manifests"]
    }
    assert sorted(found) == BOTH
    machines = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
    for platform, digest in found.items():
        config = _config(builds, f"{status['image']}@{digest}")
        assert f"linux/{config['architecture']}" == platform
        assert config["config"]["Labels"]["org.opencontainers.image.revision"] == repository.commit
    assert [(one["platform"], one["exit_code"]) for one in status["commands"]] == [
        (platform, 0) for platform in BOTH
    ]
    said = builds.logs(status["job_id"])["test"]
    for platform, machine in machines.items():
        begin = next(n for n, line in enumerate(said) if f"for {platform}:" in line)
        assert said[begin + 1 : begin + 4] == [machine, platform.split("/")[1], machine]
    assert {step["platform"] for step in status["steps"]} == set(BOTH)
    again = builds.run(request | {"image_tags": ["v2"]}, "SUCCEEDED")
    assert again["cache"]["misses"] == 0, again["steps"]
    assert again["digest"] == status["digest"]


def test_a_stage_of_another_platform_needs_no_list(builds: Builds, base: str) -> None:
    repository = builds.repository(
        {
            "Dockerfile": f"FROM --platform=linux/arm64 {base} AS other\nRUN uname -m > /machine\n"
            f"FROM {base}\nCOPY --from=other /machine /other\nRUN uname -m > /machine\n"
        }
    )
    request = builds.request(repository, test_commands=["cat /other /machine"])
    status = builds.run(request, "SUCCEEDED")
    assert builds.logs(status["job_id"])["test"][1:3] == ["aarch64", "x86_64"]
    assert "config" in _raw(builds, f"{status['image']}:v1")


def test_a_failure_says_for_which_platform(builds: Builds, base: str) -> None:
    repository = builds.repository(
        {"Dockerfile": f'FROM {base}\nRUN test "$(uname -m)" = x86_64\n'}
    )
    failure = builds.run(builds.request(repository, platforms=BOTH), "FAILED")["failure"]
    assert failure["reason"] == "RunFailed"
    assert failure["dockerfile_line"] == 2
    assert "for linux/arm64" in failure["message"]
    tested = builds.request(
        builds.repository({"Dockerfile": f"FROM {base}\nRUN true\n"}),
        platforms=BOTH,
        test={"commands": ['test "$(uname -m)" = aarch64']},
    )
    status = builds.run(tested, "FAILED")
    assert status["failure"]["reason"] == "TestFailed"
    assert status["commands"][0]["platform"] == "linux/amd64"
    assert builds.tags(tested) == []


def test_a_platform_that_the_base_lacks_is_named(builds: Builds) -> None:
    request = builds.request(builds.dockerfile("RUN true"), platforms=["linux/riscv64"])
    failure = builds.run(request, "FAILED")["failure"]
    assert (failure["reason"], failure["dockerfile_line"]) == ("BaseImageNotFound", 1)
    assert "riscv64" in failure["message"]


def test_second_names_are_understood(builds: Builds, base: str) -> None:
    """The Dockerfile has no base image for the node's own platform, and is not to need one."""
    host = builds.cluster.registry.host
    repository = builds.repository(
        {
            "Dockerfile": "ARG NAME=${TARGETARCH/arm64/two-platforms}\n"
            f"FROM --platform=x86_64 {base} AS tool\nARG TARGETPLATFORM\n"
            "RUN uname -m > /machine; echo $TARGETPLATFORM > /built-for\n"
            f"FROM {host}/base/$NAME:1\nCOPY --from=tool /machine /built-for /\n"
            "RUN uname -m >> /machine\n"
        }
    )
    request = builds.request(
        repository,
        platforms=["aarch64", "linux/arm64/v8"],
        test={"commands": ["cat /machine /built-for"]},
    )
    answer = builds.http.post("/mcp/checkJob", json=request, timeout=60).json()
    assert [one for one in answer["checks"] if one["status"] == "failed"] == []
    status = builds.run(request, "SUCCEEDED")
    assert builds.logs(status["job_id"])["test"][1:4] == ["x86_64", "aarch64", "linux/arm64"]
    refused = builds.http.post("/mcp/submitJob", json=request | {"platforms": ["vax"]})
    assert refused.is_client_error
    assert "platforms[0]" in refused.text


def test_a_platform_that_is_none_is_named_with_its_line(builds: Builds, base: str) -> None:
    repository = builds.repository({"Dockerfile": f"# first\nFROM --platform=vax {base}\n"})
    failure = builds.run(builds.request(repository), "FAILED")["failure"]
    assert (failure["reason"], failure["dockerfile_line"]) == ("DockerfileInvalid", 2)


def _raw(builds: Builds, reference: str) -> dict[str, Any]:
    return _inspect(builds, reference, "--raw")


def _config(builds: Builds, reference: str) -> dict[str, Any]:
    return _inspect(builds, reference, "--config")


def _inspect(builds: Builds, reference: str, option: str) -> dict[str, Any]:
    credentials = builds.cluster.registry.credentials
    said = skopeo.run(credentials, "inspect", "--tls-verify=false", option, f"docker://{reference}")
    found: dict[str, Any] = json.loads(said)
    return found
