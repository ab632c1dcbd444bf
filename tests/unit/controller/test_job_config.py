"""One schema, two validators: pydantic in the controller, the standard library in the runner."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controller import job_config
from controller.contract import payload, request
from controller.contract.json_schema import Problem
from controller.job_config import JobConfig

SEED = {
    "owner": "team",
    "repo_url": "https://git.example.com/team/app.git",
    "registry_url": "registry.example.com:5000/team/app",
}
hostile = st.sampled_from(
    [
        "",
        " ",
        "-x",
        "--upload-pack=x",
        "a\nb",
        "a\0b",
        "$(id)",
        "`id`",
        "${NOMAD_TOKEN}",
        "; id",
        "'\"",
        "../x",
        "/etc/passwd",
        "a/../b",
        "ext::sh -c id",
        "file:///etc",
        "\ud800",
        "é",
        "a:b",
        "a" * 300,
        "x@{y",
        "a..b",
        "a.lock",
        ".a",
        "%0a",
        "\u2028",
        "https://u:p@h/x",
        "git@h:-x",
    ]
)
words = st.one_of(
    hostile, st.text(max_size=20), st.from_regex(r"[a-z][a-z0-9/._-]{0,12}", fullmatch=True)
)
values: dict[str, st.SearchStrategy[Any]] = {
    "owner": words,
    "repo_url": st.one_of(
        words,
        st.sampled_from(
            ["https://h/x", "ssh://git@h:22/x", "git@h:x/y.git", "http://127.0.0.1:80/a"]
        ),
    ),
    "git_ref": words,
    "git_credentials_path": words,
    "dockerfile_path": words,
    "context_path": words,
    "target": words,
    "build_args": st.dictionaries(words, words, max_size=3),
    "labels": st.dictionaries(words, words, max_size=3),
    "platforms": st.lists(
        st.sampled_from(["linux/amd64", "linux/arm64/v8", "windows/amd64", "x"]), max_size=2
    ),
    "submodules": st.booleans(),
    "image_tags": st.one_of(words, st.lists(words, max_size=3)),
    "registry_url": st.one_of(
        words,
        st.sampled_from(
            ["localhost/x", "r.io", "https://r.io/x/", "R.io/X", "r.io/x:tag", "[::1]:5000/x"]
        ),
    ),
    "image_name": words,
    "registry_credentials_path": words,
    "test": st.fixed_dictionaries(
        {},
        optional={
            "commands": st.lists(st.one_of(words, st.lists(words, max_size=2)), max_size=3),
            "entry_point": st.booleans(),
            "env": st.dictionaries(words, words, max_size=2),
            "network": st.sampled_from(["none", "egress", "host"]),
            "timeout": st.one_of(
                st.integers(-1, 10**7), st.sampled_from(["45m", "1h30m", "x", "m"])
            ),
        },
    ),
    "test_commands": st.lists(words, max_size=2),
    "test_timeout": st.sampled_from(["5m", 5, True]),
    "resource_limits": st.fixed_dictionaries(
        {},
        optional={
            "cpu": st.sampled_from([1, "2GHz", "2000", 0, 1.5]),
            "memory": st.sampled_from(["2GB", "512", "1QB", 4096]),
            "build": st.fixed_dictionaries({}, optional={"memory": st.sampled_from(["1g", None])}),
        },
    ),
    "class": words,
    "build_timeout": st.sampled_from(["45m", 90, "90", "", None, 1.0, "1h1m1s"]),
    "build_network": st.sampled_from(["none", "egress", "bridge"]),
    "clear_cache": st.booleans(),
    "priority": st.one_of(st.integers(-5, 200), st.booleans()),
    "idempotency_key": words,
}
valid_or_not = st.one_of(st.just(None), st.integers(), st.lists(st.none(), max_size=1))
documents = st.one_of(
    st.fixed_dictionaries({}, optional=values),
    st.dictionaries(st.sampled_from(sorted(values)), st.one_of(valid_or_not, words), max_size=3),
    *(st.fixed_dictionaries({name: one}) for name, one in values.items()),
).map(lambda given: {**SEED, **given})


def stdlib(document: Any) -> str | None:
    try:
        return json.dumps(request.normalise(document))
    except request.RequestError:
        return None


def pydantic(document: Any) -> str | None:
    try:
        return json.dumps(JobConfig.model_validate(document).document())
    except ValidationError:
        return None


@settings(max_examples=1500, deadline=None)
@given(documents)
def test_both_validators_agree_to_the_byte(document: dict[str, Any]) -> None:
    assert pydantic(document) == stdlib(document)


@settings(max_examples=500, deadline=None)
@given(documents)
def test_the_payload_reads_back_as_the_same_document(document: dict[str, Any]) -> None:
    try:
        normal = request.normalise(document)
    except request.RequestError:
        return
    assert request.read(request.encode(normal), {}) == normal


@settings(max_examples=500, deadline=None)
@given(documents)
def test_no_accepted_value_reads_as_an_option_or_leads_elsewhere(document: dict[str, Any]) -> None:
    try:
        normal = request.normalise(document)
    except request.RequestError:
        return
    for field in ("repo_url", "git_ref", "dockerfile_path", "context_path", "image", "target"):
        value = normal[field] or ""
        assert not value.startswith("-"), field
        assert value.isprintable(), field
    for field in ("dockerfile_path", "context_path"):
        assert ".." not in normal[field].split("/")
        assert not normal[field].startswith("/")
    assert (
        normal["repo_url"].startswith(("https://", "http://", "ssh://"))
        or "@" in normal["repo_url"]
    )
    assert (
        "." in normal["image"].split("/")[0]
        or ":" in normal["image"].split("/")[0]
        or normal["image"].startswith("localhost/")
    )


def test_the_committed_schema_is_the_one_of_the_model() -> None:
    assert job_config.SCHEMA_PATH.read_text(encoding="utf-8") == job_config.schema_text(), (
        "run python -m controller.job_config"
    )


@pytest.mark.parametrize("given", [SEED, {"job_config": SEED}])
def test_defaults_are_filled_in(given: dict[str, Any]) -> None:
    normal = request.normalise(given)
    assert normal["git_ref"] == "main"
    assert normal["dockerfile_path"] == "Dockerfile"
    assert normal["context_path"] == "."
    assert normal["image"] == "registry.example.com:5000/team/app"
    assert normal["test"] == {
        "commands": [],
        "entry_point": False,
        "env": {},
        "keep_going": False,
        "processes": 4096,
        "network": "none",
        "timeout": None,
    }


def problems_of(document: Any) -> dict[str, Problem]:
    with pytest.raises(request.RequestError) as caught:
        request.normalise(document)
    return {problem.field: problem for problem in caught.value.problems}


def test_every_problem_is_reported_at_once() -> None:
    problems = problems_of(
        {
            "repo_url": "ext::sh",
            "git_ref": "-x",
            "priority": 0,
            "dockerfile": 1,
            "test": {"env": {"1": "x"}, "comands": []},
            "webhook_url": "x",
        }
    )
    assert set(problems) == {
        "owner",
        "repo_url",
        "git_ref",
        "priority",
        "dockerfile",
        "registry_url",
        "test.env.1",
        "test.comands",
        "webhook_url",
    }
    assert problems["dockerfile"].fix == "did you mean dockerfile_path?"
    assert problems["test.comands"].fix == "did you mean commands?"


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    problem = problems_of(SEED | {"repo_url": "https://me:hunter2@git.example.com/x"})["repo_url"]
    assert "git_credentials_path" in problem.fix
    assert "hunter2" not in str(problem)


def test_a_build_argument_is_not_repeated_in_its_error() -> None:
    problem = problems_of(SEED | {"build_args": {"KEY": "-----BEGIN\nhunter2"}})["build_args.KEY"]
    assert "hunter2" not in str(problem)


def test_a_seed_name_that_contradicts_the_new_one_is_refused() -> None:
    assert "test_commands" in problems_of(
        SEED | {"test_commands": ["a"], "test": {"commands": ["b"]}}
    )
    same = request.normalise(SEED | {"test_commands": ["a"], "test": {"commands": ["a"]}})
    assert same["test"]["commands"] == ["a"]


def test_lists_may_come_as_strings() -> None:
    normal = request.normalise(
        SEED | {"image_tags": '["a", "b", "a"]', "test_commands": "[ -f x ]"}
    )
    assert normal["image_tags"] == ["a", "b"]
    assert normal["test"]["commands"] == ["[ -f x ]"]


def test_a_dispatch_by_hand_takes_fields_from_meta() -> None:
    normal = request.read(
        None, {"repo_url": "git@h:x", "registry_url": "r.io/t", "image_name": "app", "other": "-"}
    )
    assert (normal["owner"], normal["image"]) == ("dispatch", "r.io/t/app")
    normal = request.read(
        b'{"git_ref": "v1"}', {"repo_url": "git@h:x", "registry_url": "r.io/t", "git_ref": "main"}
    )
    assert normal["git_ref"] == "v1"


@pytest.mark.parametrize(
    "payload", [b"\x1f\x8b\x08", b"{", b"[]", b"NaN", b"\xff", b"[" * 100_000, b'{"owner": "x"']
)
def test_a_damaged_payload_is_a_request_error(payload: bytes) -> None:
    with pytest.raises(request.RequestError):
        request.read(payload, {})


def test_a_large_document_travels_compressed_and_a_bomb_is_refused() -> None:
    import gzip

    normal = request.normalise(SEED | {"test_commands": ["echo " + "x" * 8000, "true"] * 8})
    payload = request.encode(normal)
    assert payload.startswith(b"\x1f\x8b")
    assert request.read(payload, {}) == normal
    with pytest.raises(request.RequestError):
        request.read(gzip.compress(b" " * (2 << 20) + b"{}"), {})


def test_what_does_not_fit_even_compressed_is_refused() -> None:
    import random

    noise = [random.Random(seed).randbytes(4000).hex() for seed in range(64)]
    with pytest.raises(payload.PayloadTooLargeError) as caught:
        request.encode(request.normalise(SEED | {"test_commands": noise}))
    assert caught.value.size > payload.MAX_PACKED
