"""The bill of materials: what is in it, and that making it reads nothing but the image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import foreign_base
import httpx
import pytest
from builds import Builds, nomad_job_id

from cluster import installation
from cluster.cluster import Cluster

STATUS = """\
Package: told-by-dpkg
Status: install ok installed
Maintainer: Nobody <nobody@example.com>
Architecture: all
Version: 4.2-1
Description: only said to be there

"""
METADATA = "Metadata-Version: 2.1\nName: told-by-python\nVersion: 1.5\n"


@pytest.fixture(scope="module")
def syft(cluster: Cluster, controller_address: str) -> Iterator[None]:
    """The node has Syft while these tests run, as `node-setup --with-syft` installs it."""
    installation.install_syft(cluster.state.node)
    yield
    (cluster.state.node / "bin" / "syft").unlink()


def documents(builds: Builds, build: dict[str, Any]) -> list[dict[str, Any]]:
    """The SPDX documents that the registry has for an image."""
    found = attached_documents(builds, build)
    assert set(found) <= {build["digest"]}
    return list(found.values())


def attached_documents(builds: Builds, build: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The SPDX documents of a build, by the digest of what they are attached to."""
    registry = builds.cluster.registry
    http = httpx.Client(
        base_url=f"{registry.address}/v2/{build['image'].partition('/')[2]}/",
        auth=(registry.username, registry.password),
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    found = {}
    for one in build["referrers"]:
        manifest = http.get(f"manifests/{one['digest']}").json()
        if manifest.get("artifactType") == "application/spdx+json":
            subject = manifest["subject"]["digest"]
            found[subject] = http.get(f"blobs/{manifest['layers'][0]['digest']}").json()
    return found


def test_without_syft_there_is_none_and_the_log_says_so(builds: Builds) -> None:
    build = builds.run(builds.request(builds.dockerfile()), "SUCCEEDED")
    assert [one["kind"] for one in build["referrers"]] == ["https://slsa.dev/provenance/v1"]
    assert "no SBOM: this node has no Syft" in json.dumps(builds.logs(build["job_id"]))


def test_packages_of_the_image_are_listed_and_no_others(builds: Builds, syft: None) -> None:
    repository = builds.dockerfile(
        "COPY status /var/lib/dpkg/status",
        "COPY METADATA /usr/lib/python3/dist-packages/told_by_python-1.5.dist-info/METADATA",
        "RUN ln -s /proc/1/root /outside",
        "USER 65534",
        status=STATUS,
        METADATA=METADATA,
    )
    build = builds.run(builds.request(repository, test_commands=["true"]), "SUCCEEDED")
    (document,) = documents(builds, build)
    assert document["spdxVersion"] == "SPDX-2.3"
    packages = {one["name"]: one.get("versionInfo") for one in document["packages"]}
    assert packages["told-by-dpkg"] == "4.2-1"
    assert packages["told-by-python"] == "1.5"
    assert packages[build["image"]] == build["commit"]
    # The node's own packages would be hundreds.
    assert len(packages) < 10, sorted(packages)
    builds.assert_clean(builds.await_end(nomad_job_id(build["job_id"]))["ID"])


@pytest.mark.slow
def test_each_platform_has_its_own(builds: Builds, syft: None) -> None:
    base = foreign_base.make(builds.cluster)
    repository = builds.repository(
        {
            "Dockerfile": f"FROM {base}\nARG TARGETARCH\n"
            "RUN mkdir -p /var/lib/dpkg && printf 'Package: for-%s\\nStatus: install ok installed"
            "\\nArchitecture: all\\nVersion: 1\\n\\n' $TARGETARCH > /var/lib/dpkg/status\n"
        }
    )
    both = ["linux/amd64", "linux/arm64"]
    request = builds.request(repository, platforms=both, test_commands=["true"])
    build = builds.run(request, "SUCCEEDED")
    found = attached_documents(builds, build)
    assert len(found) == 2
    assert build["digest"] not in found
    packages = [{one["name"] for one in document["packages"]} for document in found.values()]
    assert ["for-amd64" in packages[0], "for-arm64" in packages[1]] == [True, True]
    assert [one["kind"] for one in build["referrers"]][:2] == [f"SBOM for {one}" for one in both]


def test_a_scan_that_fails_costs_a_line_in_the_log(builds: Builds, syft: None) -> None:
    program = builds.cluster.state.node / "bin" / "syft"
    kept = program.with_name("syft.kept")
    program.rename(kept)
    try:
        program.write_bytes(b"\x7fELF no program at all")
        program.chmod(0o755)
        build = builds.run(builds.request(builds.dockerfile()), "SUCCEEDED")
    finally:
        kept.replace(program)
    assert documents(builds, build) == []
    assert "no SBOM: syft ended with exit code" in "\n".join(builds.logs(build["job_id"])["test"])
