"""The pipeline in containers of the image: build, test, publish, cache, failure, memory."""

from __future__ import annotations

from builds import Builds


def test_build_test_publish_and_a_warm_build(builds: Builds) -> None:
    repository = builds.dockerfile(
        "RUN echo layer > /layer", "RUN --mount=type=cache,target=/c echo cached >> /c/x"
    )
    request = builds.request(repository, test_commands=["test -e /layer", ["/bin/cat", "/layer"]])
    cold = builds.run(request, "SUCCEEDED")
    assert builds.tags(request) == ["v1"]
    assert builds.digest(request, "v1") == cold["digest"]
    assert builds.run_image(cold["image"], "cat", "/layer") == "layer\n"
    warm = builds.run(request | {"image_tags": ["v2"]}, "SUCCEEDED")
    assert (cold["cache"]["hits"], warm["cache"]["misses"]) == (0, 0)
    assert warm["digest"] == cold["digest"]
