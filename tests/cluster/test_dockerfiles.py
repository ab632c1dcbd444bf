"""The service builds what plain `buildah build` builds: the same files and the same configuration.

What differs on purpose, and is left out of the comparison:
1. Times: the service gives files of the repository their commit's time.
2. The labels `org.opencontainers.image.source` and `.revision`, which the service adds, and
   `io.buildah.version`, which Buildah leaves out when it is told a time.
3. `.git` is not in the service's context, so the plain build's checkout has none either.
4. Plain Buildah writes OCI images, whose configuration has no HEALTHCHECK, ONBUILD or SHELL; the
   service keeps them, so the plain build is told `--format docker` for those Dockerfiles.
5. Plain Buildah makes one layer, the service one for each step: what a step changes of a hard link
   that an earlier step made, it changes under that name only, as `docker build` does. There the
   plain build is told `--layers` too.
6. Names of stages that differ by case only are one, as in `docker build`; plain Buildah gets a file
   in which they are equal.
7. Of a stage without RUN, COPY and ADD plain Buildah keeps no files, not even the directory of a
   WORKDIR, which `docker build` makes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from builds import ENDED, Builds
from dockerfiles import BASES, CASES, Case
from plain_build import PlainBuild, PlainBuilds
from unpacked import Entry, Unpacked, download

from cluster.cluster import Cluster

# The first test waits for every plain build.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_NOT_COMPARED = (
    "org.opencontainers.image.source",
    "org.opencontainers.image.revision",
    "io.buildah.version",
)
_COMPARED = (
    "Env",
    "Entrypoint",
    "Cmd",
    "User",
    "WorkingDir",
    "ExposedPorts",
    "Volumes",
    "Healthcheck",
    "StopSignal",
    "Shell",
    "OnBuild",
)


@dataclass(frozen=True)
class Corpus:
    """The whole corpus, submitted to the service and built plainly."""

    builds: Builds
    requests: Mapping[str, dict[str, Any]]
    job_ids: Mapping[str, str]
    plain: Mapping[str, PlainBuild]
    directory: Path

    def image(self, name: str) -> Unpacked:
        """What the service published."""
        reference = f"{self.requests[name]['registry_url']}/app:v1"
        credentials = self.builds.cluster.registry.credentials
        return download(credentials, reference, self.directory / name)


@pytest.fixture(scope="module")
def corpus(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Corpus]:
    builds = Builds(cluster, cluster.pack.wait_healthy())
    everything = (*BASES, *CASES)
    image = f"{cluster.registry.host}/corpus-{uuid.uuid4().hex[:8]}"
    words = {
        "@BASE@": cluster.base_image,
        "@REGISTRY@": cluster.registry.host,
        **{f"@{base.name.upper()}@": f"{image}/{base.name}/app:v1" for base in BASES},
    }
    source = tmp_path_factory.mktemp("source")
    for case in everything:
        case.write(source, words)
    repository = cluster.create_git_repository(f"r{uuid.uuid4().hex[:10]}", source)
    owner = f"corpus-{uuid.uuid4().hex[:8]}"
    requests = {
        case.name: builds.request(
            repository, owner=owner, registry_url=f"{image}/{case.name}", **case.fields
        )
        for case in everything
    }
    job_ids = {base.name: builds.submit(requests[base.name]) for base in BASES}
    for job_id in job_ids.values():
        builds.await_status(job_id, "SUCCEEDED")
    job_ids |= {case.name: builds.submit(requests[case.name]) for case in CASES}
    with cluster.buildah.scratch() as scratch:
        plain = PlainBuilds(cluster, repository, scratch)
        made = {case.name: plain.build(case) for case in everything}
        yield Corpus(builds, requests, job_ids, made, tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("case", [*BASES, *CASES], ids=lambda case: case.name)
def test_the_service_builds_what_buildah_builds(corpus: Corpus, case: Case) -> None:
    plain = corpus.plain[case.name]
    job_id = corpus.job_ids[case.name]
    status = corpus.builds.await_status(job_id, *ENDED, seconds=600)
    if case.fails:
        assert plain.image is None
        assert case.fails in plain.said
        assert status["status"] == "FAILED"
        assert case.fails in corpus.builds.text(job_id)
        return
    assert plain.image is not None, plain.said
    assert status["status"] == "SUCCEEDED", (status, corpus.builds.text(job_id))
    ours = corpus.image(case.name)
    differences = _differences(ours.files, plain.image.files)
    assert differences == {path: (ours.files.get(path), None) for path in case.more}
    assert _config(ours) == _config(plain.image)
    assert {path: ours.texts.get(path) for path in case.image} == case.image
    assert {name: ours.config.get(name) for name in case.config} == case.config


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.fails], ids=lambda case: case.name
)
def test_the_check_finds_no_error_in_what_builds(corpus: Corpus, case: Case) -> None:
    answer = httpx.post(
        f"{corpus.builds.address}/mcp/checkJob", json=corpus.requests[case.name], timeout=60
    )
    told = [one for one in answer.json()["checks"] if one["status"] == "failed"]
    assert told == []


def test_a_base_image_that_cannot_be_had_has_its_line(builds: Builds) -> None:
    missing = f"{builds.cluster.registry.host}/base/none:1"
    repository = builds.dockerfile("COPY \\", f"  --from={missing} \\", "  / /")
    failure = builds.run(builds.request(repository), "FAILED")["failure"]
    assert (failure["reason"], failure["dockerfile_line"]) == ("BaseImageNotFound", 2)
    assert failure["step"] == f"COPY --from={missing}   / /"
    assert failure["dockerfile_text"] == f"COPY \\\n  --from={missing} \\\n  / /"


def test_an_image_that_onbuild_of_a_base_image_names_is_fetched(builds: Builds) -> None:
    host = builds.cluster.registry.host
    tool, base = (f"{host}/onbuild-{uuid.uuid4().hex[:8]}/{name}" for name in ("tool", "base"))
    for image, line in (
        (tool, "RUN echo tool > /tool"),
        (base, f"ONBUILD COPY --from={tool}:v1 /tool /triggered"),
    ):
        made = builds.request(builds.dockerfile(line), registry_url=image, image_name=None)
        builds.run(made, "SUCCEEDED")
    repository = builds.repository({"Dockerfile": f"FROM {base}:v1\nRUN cp /triggered /own\n"})
    request = builds.request(repository, test_commands=["cat /own"])
    status = builds.run(request, "SUCCEEDED")
    assert "tool" in builds.logs(status["job_id"])["test"]


def _differences(ours: Mapping[str, Entry], plain: Mapping[str, Entry]) -> dict[str, Any]:
    return {
        path: (ours.get(path), plain.get(path))
        for path in sorted({*ours, *plain})
        if ours.get(path) != plain.get(path)
    }


def _config(image: Unpacked) -> dict[str, Any]:
    labels = image.config.get("Labels") or {}
    return {
        **{name: image.config.get(name) or None for name in _COMPARED},
        "Labels": {name: value for name, value in labels.items() if name not in _NOT_COMPARED},
    }
