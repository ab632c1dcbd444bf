"""One commit gives one image, wherever and whenever it is built without the cache.

With the cache it cannot: a layer keeps the time at which it was made. Then the files of the
repository, the image and its history still have the commit's time, and the next commit's build
takes every layer that the change does not touch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from builds import Builds
from dockerfiles import archive
from unpacked import download

from cluster.buildah import BASE_IMAGE
from cluster.git_repository import GitRepository

pytestmark = pytest.mark.slow

TIME = 1_700_000_001
DOCKERFILE = """\
ARG SOURCE_DATE_EPOCH
FROM {base} AS made
ARG SOURCE_DATE_EPOCH
WORKDIR /made
RUN echo "$SOURCE_DATE_EPOCH" > time && mkdir -p deep/er && ln -s time link && ln time hard
FROM {base}
WORKDIR /app
COPY . .
ADD app.tar /added/
COPY --from=made --chown=5:6 /made /copied
RUN echo app:x:5:6::/:/bin/sh >> /etc/passwd && rm -r /root && touch /bin /made-here
USER app
WORKDIR /by-app
"""


@pytest.fixture
def repository(builds: Builds) -> GitRepository:
    """Its only commit of note was made at `TIME`."""
    files = {
        "Dockerfile": DOCKERFILE.format(base=builds.cluster.base_image),
        "folder/file": "x",
        "run!": "#!/bin/sh\n",
        "app.tar": archive(),
    }
    repository = builds.repository({"README": "first"})
    repository.push(files, time=TIME)
    return repository


def test_without_the_cache_the_same_commit_gives_the_same_digest(
    builds: Builds, repository: GitRepository
) -> None:
    """Two owners have two storages, and the second build begins seconds after the first."""
    requests = [builds.request(repository, clear_cache=True) for _ in range(2)]
    for request in requests:
        builds.run(request, "SUCCEEDED")
    first, second = (builds.digest(request, "v1") for request in requests)
    assert first == second


@pytest.mark.parametrize("clear_cache", [True, False], ids=["without-cache", "with-cache"])
def test_the_image_has_the_commits_time(
    builds: Builds, repository: GitRepository, tmp_path: Path, clear_cache: bool
) -> None:
    request = builds.request(repository, clear_cache=clear_cache)
    builds.run(request, "SUCCEEDED")
    config = builds.config(request, "v1")
    base = builds.cluster.registry.image_config(*BASE_IMAGE.split(":"))
    assert _seconds(config["created"]) == TIME
    own = config["history"][len(base["history"]) :]
    assert {_seconds(one["created"]) for one in own} == {TIME}
    reference = f"{request['registry_url']}/app:v1"
    image = download(builds.cluster.registry.credentials, reference, tmp_path)
    assert image.texts["copied/time"] == f"{TIME}\n"
    checked_out = ("app/Dockerfile", "app/folder", "app/folder/file", "app/run", "app/app.tar")
    assert {image.files[path].time for path in checked_out} == {TIME}
    assert image.files["added/app/run"].time == 1_600_000_000
    made = ("bin", "etc/passwd", "made-here", "by-app", "added", "copied", "copied/deep/er")
    late = {path for path in made if image.files[path].time > TIME}
    assert late == set() if clear_cache else "made-here" in late


def test_a_time_of_the_requests_own_counts(builds: Builds, repository: GitRepository) -> None:
    request = builds.request(repository, build_args={"SOURCE_DATE_EPOCH": "86400"})
    builds.run(request, "SUCCEEDED")
    assert _seconds(builds.config(request, "v1")["created"]) == 86400


def test_the_next_commit_takes_the_layers_that_it_does_not_touch(builds: Builds) -> None:
    repository = builds.repository({"README": "first"})
    lines = ("RUN echo slow > /slow", "COPY same /same", "WORKDIR /w", "COPY changed .")
    files = {"Dockerfile": "\n".join([f"FROM {builds.cluster.base_image}", *lines]), "same": "s"}
    request = builds.request(repository)
    cached = []
    for number in range(2):
        repository.push({**files, "changed": str(number)}, time=TIME + number * 1000)
        job_id = builds.submit(request)
        builds.await_status(job_id, "SUCCEEDED")
        cached.append([line for line in builds.text(job_id).splitlines() if "Using cache" in line])
    # RUN, COPY same, WORKDIR; the base image's user is root, so no line more is needed.
    assert [len(one) for one in cached] == [0, 3]


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).astimezone(UTC).timestamp()
