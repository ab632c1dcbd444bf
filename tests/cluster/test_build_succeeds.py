"""A build that succeeds: what is published, what is reported, what is left."""

from __future__ import annotations

from builds import GIT_SSH, Builds, nomad_job_id


def test_image_carries_all_tags_and_the_reported_digest(builds: Builds) -> None:
    repository = builds.repository(
        {
            "Dockerfile": f"FROM {builds.cluster.base_image} AS made\nRUN echo made-here > /made\n"
            f"FROM {builds.cluster.base_image}\nCOPY --from=made /made /made\n"
            "COPY check.sh /check.sh\n",
            "check.sh!": "#!/bin/sh\nset -e\ngrep -q made-here /made\necho checked\n",
        }
    )
    request = builds.request(
        repository,
        image_tags=["v1", "latest", "x.y_z-1"],
        test_commands=["/check.sh", "test -f /made"],
    )
    status = builds.run(request, "SUCCEEDED")

    image = f"{request['registry_url']}/app"
    assert status["commit"] == repository.commit
    assert status["image"] == image
    assert builds.tags(request) == sorted(request["image_tags"])
    assert {builds.digest(request, tag) for tag in request["image_tags"]} == {status["digest"]}
    assert builds.run_image(f"{image}@{status['digest']}", "cat", "/made") == "made-here\n"
    labels = builds.config(request, "v1")["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == repository.commit
    assert labels["org.opencontainers.image.source"] == repository.http_url

    job_id = status["job_id"]
    logs = builds.logs(job_id)
    assert any("STEP 2/" in line for line in logs["build"])
    assert any(line.endswith("checked") for line in logs["test"])
    assert any("published" in line for line in logs["publish"])
    allocation = builds.await_end(nomad_job_id(job_id))
    builds.assert_clean(allocation["ID"])


def test_git_refs_of_every_kind(builds: Builds) -> None:
    repository = builds.dockerfile("COPY mark /mark", mark="one")
    first = repository.commit
    repository.tag("v1.0", first, annotated=True)
    second = repository.push(
        {"Dockerfile": f"FROM {builds.cluster.base_image}\nCOPY mark /mark\n", "mark": "two"},
        branch="feature/other",
    )
    wanted = {
        "main": first,
        "v1.0": first,
        "feature/other": second,
        second: second,
        first[:8]: first,
        f"refs/heads/{'feature/other'}": second,
    }
    ids = {ref: builds.submit(builds.request(repository, git_ref=ref)) for ref in wanted}
    found = {ref: builds.await_status(job_id, "SUCCEEDED")["commit"] for ref, job_id in ids.items()}
    assert found == wanted


def test_private_repository_over_ssh(builds: Builds) -> None:
    repository = builds.dockerfile("RUN true")
    request = builds.request(repository, repo_url=repository.ssh_url, git_credentials_path=GIT_SSH)
    assert builds.run(request, "SUCCEEDED")["commit"] == repository.commit


def test_submodules_when_asked(builds: Builds) -> None:
    inner = builds.repository({"inside": "from the submodule\n"})
    outer = builds.repository({"Dockerfile": "x"})
    outer.push(
        {"Dockerfile": f"FROM {builds.cluster.base_image}\nCOPY . /src\n"},
        submodules={"sub": f"{inner.http_url}@{inner.commit}"},
    )
    request = builds.request(
        outer, submodules=True, test_commands=["test -f /src/sub/inside", "test ! -e /src/sub/.git"]
    )
    builds.run(request, "SUCCEEDED")
    without = builds.request(outer, test_commands=["test ! -e /src/sub/inside"])
    builds.run(without, "SUCCEEDED")


def test_no_tags_publishes_under_the_commit(builds: Builds) -> None:
    repository = builds.dockerfile("RUN true")
    request = builds.request(repository, image_tags=None)
    builds.run(request, "SUCCEEDED")
    assert builds.tags(request) == [repository.commit[:12]]


def test_second_build_of_an_unchanged_repository_reuses_every_layer(builds: Builds) -> None:
    repository = builds.dockerfile("RUN date +%N > /a", "COPY . /src", "RUN date +%N > /b")
    first = builds.request(repository)
    before = builds.run(first, "SUCCEEDED")
    second = builds.request(repository, owner=first["owner"])
    after = builds.run(second, "SUCCEEDED")
    assert builds.config(second, "v1")["rootfs"] == builds.config(first, "v1")["rootfs"]
    # Three instructions and the labels' step.
    assert any(
        "layer cache: 4 hits, 0 misses" in line for line in builds.logs(after["job_id"])["build"]
    )
    assert any(
        "layer cache: 0 hits, 4 misses" in line for line in builds.logs(before["job_id"])["build"]
    )


def test_two_builds_at_once_share_a_node_and_do_not_disturb_each_other(builds: Builds) -> None:
    repository = builds.dockerfile("RUN echo one > /a", "RUN sleep 1; echo two > /b")
    owner = builds.request(repository)["owner"]
    requests = [
        builds.request(repository, owner=owner, test_commands=["cat /a /b"]) for _ in range(2)
    ]
    ids = [builds.submit(request) for request in requests]
    for job_id, request in zip(ids, requests, strict=True):
        status = builds.await_status(job_id, "SUCCEEDED")
        assert builds.digest(request, "v1") == status["digest"]
    for job_id in ids:
        builds.assert_clean(builds.await_end(nomad_job_id(job_id))["ID"])


def test_layers_are_not_shared_across_owners(builds: Builds) -> None:
    repository = builds.dockerfile("RUN date +%N > /a")
    first, second = builds.request(repository), builds.request(repository)
    builds.run(first, "SUCCEEDED")
    builds.run(second, "SUCCEEDED")
    assert builds.config(second, "v1")["rootfs"] != builds.config(first, "v1")["rootfs"]
