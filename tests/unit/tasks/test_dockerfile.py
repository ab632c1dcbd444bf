"""The Dockerfile reader: lines, stages, images, and what it refuses."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.tasks.dockerfiles.dockerfile import parse
from controller.tasks.errors import PhaseFailed
from controller.tasks.isolation import platforms


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
    assert tuple(parse(text, {}).images) == (
        "docker.io/lib/go:1.2",
        "quay.io/tool:1",
        "cache/img:2",
    )
    assert (
        next(iter(parse(text, {"REGISTRY": "r.example:5000", "TAG": "9"}).images))
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
    assert tuple(parse("FROM docker:24-dind\n", {}).images) == ("docker:24-dind",)


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


def failure(text: str, **build_args: str) -> PhaseFailed:
    with pytest.raises(PhaseFailed) as failed:
        parse(text, build_args)
    return failed.value


def images(text: str, **build_args: str) -> list[str]:
    return list(parse(text, build_args).images)


@pytest.mark.parametrize(
    "text",
    [
        "# see COPY --from=oci:/x\nFROM a\n",
        'FROM a\nCOPY <<EOF /x\nfrom = "oci:xyz"\nFROM dir:/x\nEOF\n',
        "FROM a\nRUN echo \\\n# from=oci:/x\n  --from=oci:/y from=dir:/z\n",
        'FROM a\nENV FROM=oci:/x\nLABEL from="dir:/x"\n',
        'FROM a\nRUN ["x"] <<EOF\nCMD y\n',
    ],
)
def test_dockerfile_transports_count_where_an_image_is_named_only(text: str) -> None:
    assert images(text) == ["a"]


@pytest.mark.parametrize(
    "lines",
    [
        "RUN --mount='type=bind,\"from=oci:/x\",target=/y' true",
        "RUN --mount=type=bind,$M,target=/y true",
        "ARG T=dir:\nRUN --mount=from=${T}/x,target=/y true",
        'RUN ["x"] <<EOF\nCOPY --from=oci:/x / /\nEOF',
        "ARG N=oci:/x\nCOPY --from=${N} / /",
    ],
)
def test_dockerfile_refuses_transports_however_they_are_written(lines: str) -> None:
    error = failure(f"FROM a\nENV M=from=oci:/x\n{lines}\n")
    assert error.reason == "DockerfileRefused"


def test_dockerfile_refuses_transports_in_stages_that_are_not_built() -> None:
    assert failure("FROM oci:/x AS unused\nFROM a\n").reason == "DockerfileRefused"


@pytest.mark.parametrize("line", ["COPY --from=r/x:${V} / /", "RUN --mount=from=$V,target=/x y"])
def test_dockerfile_names_come_from_arguments_and_no_environment(line: str) -> None:
    """As Buildah has it, seen with 1.44: COPY --from=x:${V} fails where only ENV sets V."""
    error = failure(f"FROM a\nENV V=1.0\n{line}\n")
    assert (error.reason, error.details["dockerfile_line"]) == ("DockerfileInvalid", 3)
    assert "ENV" in error.message


def test_dockerfile_options_of_mounts_come_from_the_environment_too() -> None:
    text = "FROM a\nARG V=1\nENV V=2 M=from=r/y:3\nRUN --mount=type=bind,$M,target=/x y\n"
    assert images(text) == ["a", "r/y:3"]
    assert images(f"{text}RUN --mount=from=r/x:$V,target=/x y\n") == [
        "a",
        "r/y:3",
        "r/x:1",
        "r/x:2",
    ]


def test_dockerfile_arguments_before_from_are_declared_in_a_stage() -> None:
    undeclared = failure("ARG V=1.0\nFROM a\nCOPY --from=r/x:${V} / /\n")
    assert undeclared.reason == "DockerfileInvalid"


def test_dockerfile_stages_inherit_arguments_and_environment() -> None:
    text = (
        "FROM a AS p\nARG V=1\nENV W=from=r/y:2\nFROM p AS q\nFROM q\nCOPY --from=r/x:${V} / /\n"
        "RUN --mount=type=bind,$W,target=/x y\n"
    )
    assert images(text) == ["a", "r/x:1", "r/y:2"]
    assert images(text, V="3") == ["a", "r/x:3", "r/y:2"]


def test_dockerfile_bind_mounts_from_a_variable_are_refused_with_the_way_out() -> None:
    """Buildah 1.44 ends with a panic there, after the command has run."""
    text = "FROM a\nARG V=r/x\nRUN --mount=target=/x,from=$V y\n"
    assert images(text) == ["a", "r/x"]
    error = failure(text.replace("target", "type=bind,target"))
    assert (error.reason, error.details["dockerfile_line"]) == ("DockerfileInvalid", 3)
    assert "leave it out" in error.message


def test_dockerfile_mounts_in_the_quotes_of_csv() -> None:
    text = "FROM a\nRUN --mount='type=bind,\"from=r/x:1\",target=/x' y\n"
    assert images(text) == ["a", "r/x:1"]


def test_dockerfile_predefined_arguments_are_declared_in_a_stage() -> None:
    text = "FROM a:${TARGETARCH}\nARG TARGETARCH\nCOPY --from=b:$TARGETARCH / /\n"
    parsed = parse(text, {}, platform="linux/arm64")
    assert list(parsed.images) == ["a:arm64", "b:arm64"]
    assert images(text, TARGETARCH="x") == ["a:x", "b:x"]


@pytest.mark.parametrize(
    "lines",
    [
        f"ARG L={'x' * 300}.gz\nARG M=${{L%.*}}",
        f"ENV L={'x' * 70_000}",
        "ENV X=${Y-z}",
        "LABEL x=${Y-z}",
    ],
)
def test_dockerfile_values_that_name_no_image_end_nothing(lines: str) -> None:
    assert images(f"FROM a\n{lines}\nRUN x\n") == ["a"]


@pytest.mark.parametrize("line", ["ARG Y=${X-d}", "ARG Y=${X:?}", "ARG X=1 Y=${X:?}"])
def test_dockerfile_defaults_that_end_buildah_have_a_line(line: str) -> None:
    """Buildah says `processing ARG "Y=${X:?}"`, whatever ENV or ARG sets, and no line."""
    error = failure(f"FROM a\nENV X=1\n{line}\n")
    assert (error.reason, error.details["dockerfile_line"]) == ("DockerfileInvalid", 3)


def test_dockerfile_stages_that_are_not_built_are_not_judged() -> None:
    text = (
        "ARG NONE\nFROM ${NONE} AS one\nFROM --platform=vax a AS two\nCOPY --from=9 / /\n"
        "COPY --from=../x / /\nFROM b AS three\nFROM c AS four\nCOPY --from=Three / /\n"
    )
    assert list(parse(text, {}, "three").images) == ["b"]
    assert failure(text).details["dockerfile_line"] == 8


def test_dockerfile_numbers_of_stages_are_no_images() -> None:
    error = failure("FROM a\nCOPY --from=7 / /\n")
    assert (error.reason, error.details["dockerfile_line"]) == ("DockerfileInvalid", 2)
    assert "stage 7" in error.message


def test_dockerfile_target_is_found_whatever_its_case() -> None:
    text = "FROM a AS Build\nFROM b\n"
    parsed = parse(text, {}, "build")
    assert (parsed.target, list(parsed.images)) == ("Build", ["a"])
    assert [parse(text, {}, one).target for one in ("1", "none", None)] == ["1", "none", None]


@pytest.mark.parametrize(
    ("written", "platform"),
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("arm", "linux/arm/v7"),
        ("local", platforms.NATIVE),
        ("$BUILDPLATFORM", platforms.NATIVE),
        ("$TARGETPLATFORM", "linux/s390x"),
        ("linux", platforms.NATIVE),
        ("/", platforms.NATIVE),
    ],
)
def test_dockerfile_platforms_have_their_normal_form(written: str, platform: str) -> None:
    parsed = parse(f"FROM --platform={written} a\n", {}, platform="linux/s390x")
    assert [(need.image, need.platform) for need in parsed.needs] == [("a", platform)]


@pytest.mark.parametrize("written", ["vax", "a/b/c/d", "$NONE", "", "linux/*"])
def test_dockerfile_platforms_that_are_none(written: str) -> None:
    error = failure(f"FROM b\nFROM --platform={written} a\n")
    assert (error.reason, error.details["dockerfile_line"]) == ("DockerfileInvalid", 2)


def test_dockerfile_needs_say_what_names_them() -> None:
    text = "# top\r\nFROM a AS one\r\nCOPY --from=b \\\r\n  # why\r\n  / /\r\nFROM one\r\n"
    parsed = parse(text, {})
    assert [(need.image, need.instruction.line) for need in parsed.needs] == [("a", 2), ("b", 3)]
    assert parsed.needs[1].instruction.written == "COPY --from=b \\\n  # why\n  / /"
    assert parsed.images == {"a": 2, "b": 3}


def test_dockerfile_onbuild_names_images_for_those_that_are_based_on_it() -> None:
    text = "FROM a AS p\nONBUILD COPY --from=b / /\nFROM p AS q\nRUN x\nFROM q\nCMD y\n"
    assert parse(text, {}).images == {"a": 1, "b": 3}
    assert images("FROM a\nONBUILD COPY --from=b / /\n") == ["a"]
    triggers = {"a": ["ARG V=1", "COPY --from=b:$V / /", "RUN --mount=from=p,target=/p x"]}
    text = "FROM c AS p\n# why\nFROM \\\n  a\nRUN x\n"
    parsed = parse(text, {"V": "2"}, triggers=triggers)
    assert parsed.images == {"c": 1, "a": 3, "b:2": 3}
    assert parsed.needs[2].instruction.written == "FROM \\\n  a"
    assert list(parse("FROM a\n", {}, triggers={"a": ["RUN <<EOF"]}).images) == ["a"]


def test_dockerfile_onbuild_of_a_base_image_names_no_transport() -> None:
    with pytest.raises(PhaseFailed) as failed:
        parse("# top\nFROM a\n", {}, triggers={"a": ["COPY --from=oci:/x / /"]})
    assert failed.value.reason == "DockerfileRefused"
    assert failed.value.details["dockerfile_line"] == 2


WORDS = st.sampled_from(["FROM", "ARG", "ENV", "COPY", "RUN", "AS", "a", "s", "S", "=", '"'])
VALUES = st.sampled_from(["X", "X=1", "X=${Y:?}", "$X", "${X%"])
FLAGS = st.sampled_from(["from=$X", "from=s", "from=0", "mount=from=$X", "platform=$X", "after=s"])
LINES = st.lists(WORDS | VALUES | FLAGS.map("--{}".format), max_size=5).map(" ".join)


@given(st.lists(LINES, max_size=10).map("\n".join))
def test_dockerfile_wild_files_are_read_or_refused_with_a_line(text: str) -> None:
    try:
        parsed = parse(f"FROM a:1\n{text}", {"Y": "2"}, "s")
    except PhaseFailed as error:
        assert error.reason in ("DockerfileInvalid", "DockerfileRefused")
        assert error.details["dockerfile_line"] >= 1
        return
    assert all(need.platform.count("/") in (1, 2) for need in parsed.needs)


def test_dockerfile_of_very_many_stages_takes_no_time() -> None:
    stages = "".join(f"FROM s{n} AS s{n + 1}\nCOPY --from={n} / /\n" for n in range(10_000))
    began = time.monotonic()
    assert images(f"FROM a AS s0\n{stages}") == ["a"]
    assert time.monotonic() - began < 10
