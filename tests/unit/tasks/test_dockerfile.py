"""The Dockerfile reader: lines, stages, images, and what it refuses."""

import pytest

from controller.tasks.dockerfile import parse
from controller.tasks.errors import PhaseFailed


def lines(text: str, **build_args: str) -> list[tuple[int, str]]:
    parsed = parse(text, build_args)
    return [(i.line, i.keyword) for stage in parsed.stages for i in stage.instructions]


def test_dockerfile_lines_of_instructions_with_continuations_and_comments() -> None:
    text = "# top\nFROM a\n\nRUN one \\\n  # inside\n\n  && two\nCOPY x y\n"
    assert lines(text) == [(2, "FROM"), (4, "RUN"), (8, "COPY")]


def test_dockerfile_heredocs_are_not_instructions() -> None:
    text = "FROM a\nRUN <<EOF\nFROM not-an-image\nEOF\nCOPY <<-'A' <<B /d/\nx\n\tA\ny\nB\nCMD z\n"
    assert lines(text) == [(1, "FROM"), (2, "RUN"), (5, "COPY"), (10, "CMD")]


def test_dockerfile_escape_directive() -> None:
    assert lines("# escape=`\nFROM a\nRUN x `\n y\nRUN z\\\nCMD q\n") == [
        (2, "FROM"),
        (3, "RUN"),
        (5, "RUN"),
        (6, "CMD"),
    ]


def test_dockerfile_images_are_those_that_are_no_stages() -> None:
    text = (
        "ARG TAG=1.2\nARG REGISTRY\nFROM ${REGISTRY:-docker.io}/lib/go:$TAG AS build\n"
        "FROM build AS second\nCOPY --from=build /a /a\nCOPY --from=0 /a /b\n"
        "COPY --from=quay.io/tool:1 /t /t\nRUN --mount=type=bind,from=cache/img:2,target=/x true\n"
    )
    assert parse(text, {}).images == ("docker.io/lib/go:1.2", "quay.io/tool:1", "cache/img:2")
    assert (
        parse(text, {"REGISTRY": "r.example:5000", "TAG": "9"}).images[0]
        == "r.example:5000/lib/go:9"
    )


@pytest.mark.parametrize(
    "line",
    [
        "FROM oci:/etc",
        "FROM dir:/root",
        "from docker-archive:/tmp/x.tar",
        "FROM containers-storage:[overlay@/x]busybox",
        "FROM --platform=linux/amd64 oci:/x",
        "FROM a\nCOPY --from=oci:/x / /",
        "FROM a\nRUN --mount=type=bind,from=dir:/x,target=/y true",
        "FROM a\nRUN --security=insecure true",
        "FROM /etc/passwd",
        "FROM ../x",
        "ARG X=oci:/etc\nFROM ${X}",
        'FROM a\nCOPY --from="oci:/x" / /',
    ],
)
def test_dockerfile_refuses_host_paths_and_insecure_mode(line: str) -> None:
    with pytest.raises(PhaseFailed) as failed:
        parse(line, {})
    assert failed.value.reason == "DockerfileRefused"
    assert failed.value.details["dockerfile_line"] >= 1


def test_dockerfile_image_named_docker_is_an_image() -> None:
    assert parse("FROM docker:24-dind\n", {}).images == ("docker:24-dind",)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no FROM"),
        ("RUN x\nFROM a\n", "before the first FROM"),
        ("FROM a b\n", "FROM image"),
        ("ARG X\nFROM $X\n", "names no image"),
    ],
)
def test_dockerfile_invalid(text: str, part: str) -> None:
    with pytest.raises(PhaseFailed, match=part) as failed:
        parse(text, {})
    assert failed.value.reason == "DockerfileInvalid"
