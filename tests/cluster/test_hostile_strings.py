"""User strings are data: in every field, whatever they hold, nothing is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import Builds, nomad_job_id

pytestmark = pytest.mark.slow

MARK = "/var/tmp/nbs-executed"
HOSTILE = [
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"; touch {MARK}",
    f"x\ntouch {MARK}",
    "--upload-pack=touch",
    "-oProxyCommand=touch",
    f"${{NOMAD_META_x}}|touch {MARK}",
    "${env.PATH}",
    "ext::sh -c touch",
    "file:///etc",
    "a b'\"\\",
]
FIELDS = [
    "repo_url",
    "git_ref",
    "dockerfile_path",
    "context_path",
    "registry_url",
    "image_name",
    "git_credentials_path",
    "registry_credentials_path",
    "target",
]


@pytest.fixture(autouse=True)
def nothing_executed() -> object:
    Path(MARK).unlink(missing_ok=True)
    yield
    assert not Path(MARK).exists()


@pytest.mark.parametrize("field", [*FIELDS, "image_tags", "owner"])
def test_hostile_values_are_refused_or_data(builds: Builds, field: str) -> None:
    repository = builds.dockerfile("RUN true")
    accepted = []
    for value in HOSTILE:
        wanted: object = [value] if field == "image_tags" else value
        answer = builds.http.post(
            "/mcp/submitJob", json={"job_config": builds.request(repository, **{field: wanted})}
        )
        if answer.status_code == 422:
            problems = answer.json()["problems"]
            assert any(problem["field"].startswith(field) for problem in problems), answer.text
        else:
            assert answer.status_code == 200, answer.text
            accepted.append(answer.json()["job_id"])
    for job_id in accepted:
        builds.await_status(job_id, "FAILED", "SUCCEEDED")


def test_hostile_values_by_hand(builds: Builds) -> None:
    """Past the controller's validation, the runner refuses the same."""
    repository = builds.dockerfile("RUN true")
    for field in ("repo_url", "git_ref", "dockerfile_path", "registry_url"):
        child = builds.dispatch(builds.request(repository, **{field: HOSTILE[4]}))
        allocation = builds.await_end(child)
        outcome = builds.file(allocation["ID"], "finish/local/outcome.json")
        assert '"InvalidRequest"' in outcome
        assert field in outcome


def test_hostile_data_arrives_unchanged(builds: Builds) -> None:
    value = f"$(touch {MARK}) `id` ${{NOMAD_TOKEN}} ; | & 'q' \"d\" \\ ${{env.PATH}}"
    repository = builds.dockerfile("ARG GIVEN", 'RUN printf "%s" "$GIVEN" > /given')
    label = "it's {here}; & | %24 (no) <way> é"
    request = builds.request(
        repository,
        build_args={"GIVEN": value},
        labels={"note": label},
        test={"env": {"GIVEN": value}, "commands": ['test "$(cat /given)" = "$GIVEN"']},
    )
    status = builds.run(request, "SUCCEEDED")
    assert builds.config(request, "v1")["config"]["Labels"]["note"] == label
    assert builds.run_image(f"{status['image']}@{status['digest']}", "cat", "/given") == value


def test_test_commands_with_newlines_run_in_the_images_shell(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"),
        test_commands=["set -e\necho first\nif true; then\necho second\nfi"],
    )
    status = builds.run(request, "SUCCEEDED")
    text = "\n".join(builds.logs(status["job_id"])["test"])
    assert "first" in text
    assert "second" in text
    builds.assert_clean(builds.await_end(nomad_job_id(status["job_id"]))["ID"])
