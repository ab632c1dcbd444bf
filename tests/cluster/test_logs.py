"""getLogs: pages, tails, searches and budgets, on the log of a real build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from builds import Builds
from controllers import sse

LINES = 3000


@pytest.fixture(scope="module")
def job_id(cluster: Any, controller_address: str) -> str:
    builds = Builds(cluster, cluster.pack.wait_healthy())
    repository = builds.dockerfile(
        f"RUN i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo number $i of many; done"
    )
    request = builds.request(repository, test_commands=["echo a warning: nearly; echo tested"])
    status = builds.run(request, "SUCCEEDED")
    found: str = status["job_id"]
    return found


def logs(builds: Builds, job_id: str, **document: Any) -> Mapping[str, Any]:
    answer = builds.http.post("/mcp/getLogs", json={"job_id": job_id, **document})
    assert answer.status_code == 200, answer.text
    found: Mapping[str, Any] = answer.json()
    return found


def test_without_a_bound_the_whole_log_comes(builds: Builds, job_id: str) -> None:
    found = logs(builds, job_id)
    assert sum(line.startswith("number") for line in found["logs"]["build"]) == LINES
    assert (found["truncated"], found["more"], found["note"]) == ([], False, "")


def test_pages_from_the_beginning_hold_every_line_once(builds: Builds, job_id: str) -> None:
    whole = logs(builds, job_id)["logs"]
    page = logs(builds, job_id, from_start=True, max_tokens=3000)
    pages = [page]
    while page["more"]:
        assert len(str(page["logs"])) < 4 * 9000
        page = logs(builds, job_id, after=page["cursor"], max_tokens=3000)
        pages.append(page)
        assert len(pages) < 100
    assert len(pages) > 5
    for phase, lines in whole.items():
        assert [line for one in pages for line in one["logs"][phase]] == lines
    assert logs(builds, job_id, after=page["cursor"])["logs"] == {
        "build": [],
        "test": [],
        "publish": [],
    }


def test_the_newest_lines_fit_the_budget(builds: Builds, job_id: str) -> None:
    found = logs(builds, job_id, max_tokens=500)
    whole = logs(builds, job_id)["logs"]
    assert sum(len(line) + 1 for lines in found["logs"].values() for line in lines) <= 1500
    assert found["logs"]["publish"] == whole["publish"]
    kept = found["logs"]["build"]
    assert kept == whole["build"][len(whole["build"]) - len(kept) :]
    assert "build" in found["truncated"]
    assert "from_start" in found["note"]


def test_search_numbers_its_matches_and_pages(builds: Builds, job_id: str) -> None:
    found = logs(builds, job_id, search="number 1500 ", context=1)
    numbers = [line.split("number")[0] for line in found["logs"]["build"]]
    whole = logs(builds, job_id)["logs"]["build"]
    at = whole.index("number 1500 of many") + 1
    assert numbers == [f"{at - 1}-", f"{at}:", f"{at + 1}-"]
    # The step's own line names the word, not the number.
    assert found["matches"] == 1

    shown, page = [], logs(builds, job_id, search=r"^number \d+", context=0, max_tokens=4000)
    assert page["matches"] == LINES
    while True:
        shown += page["logs"]["build"]
        if not page["more"]:
            break
        page = logs(
            builds,
            job_id,
            search=r"^number \d+",
            context=0,
            max_tokens=4000,
            after=page["cursor"],
        )
    assert [line.partition(":")[2] for line in shown] == [
        f"number {n} of many" for n in range(1, LINES + 1)
    ]


def test_search_looks_into_each_phase(builds: Builds, job_id: str) -> None:
    found = logs(builds, job_id, search="(?i)WARNING", context=0)
    assert [line.partition(":")[2] for line in found["logs"]["test"]][-1] == "a warning: nearly"
    assert logs(builds, job_id, search="warning", phase="publish")["matches"] == 0


def test_one_cursor_works_at_every_door(builds: Builds, job_id: str) -> None:
    page = logs(builds, job_id, from_start=True, max_tokens=1000)
    rest = logs(builds, job_id, after=page["cursor"])["logs"]
    streamed = [
        event
        for event, _ in sse(builds.address, job_id, after=page["cursor"])
        if event["event"] == "log"
    ]
    assert [event["message"] for event in streamed] == [
        line for phase in ("build", "test", "publish") for line in rest[phase]
    ]
    middle = streamed[len(streamed) // 2]
    after = logs(builds, job_id, after=middle["cursor"])["logs"]
    assert sum(map(len, after.values())) == len(streamed) - len(streamed) // 2 - 1


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"search": "(unclosed"}, "search"),
        ({"search": "(?=look)ahead"}, "search"),
        ({"search": "x", "tail": 3}, "tail"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"context": 99}, "context"),
        ({"phase": "deploy"}, "phase"),
        ({"from_start": "yes"}, "from_start"),
    ],
)
def test_wrong_questions_name_the_field(
    builds: Builds, job_id: str, document: dict[str, Any], field: str
) -> None:
    answer = builds.http.post("/mcp/getLogs", json={"job_id": job_id, **document})
    assert answer.status_code == 422, answer.text
    assert answer.json()["problems"][0]["field"] == field


def test_an_expression_that_explodes_elsewhere_is_harmless(builds: Builds, job_id: str) -> None:
    """Nested repetition takes a backtracking engine minutes; RE2 is linear."""
    found = logs(builds, job_id, search="(n+)+(u+)+(m+)+$|(o|o|of?)*$y", context=0)
    assert found["matches"] == 0


def test_the_original_clients_paths(builds: Builds, job_id: str) -> None:
    for base in ("json", "mcp"):
        status = builds.http.get(f"/{base}/job/{job_id}/status")
        assert status.status_code == 200, status.text
        assert status.json()["status"] == "SUCCEEDED"
        found = builds.http.get(f"/{base}/job/{job_id}/logs", params={"tail": 2, "phase": "test"})
        assert len(found.json()["logs"]["test"]) == 2
    assert builds.http.get("/json/job/default.image-build.none/status").status_code == 404
    wrong = builds.http.get(f"/json/job/{job_id}/logs", params={"tail": "many"})
    assert wrong.status_code == 422
    nomad = status.json()["nomad_job_id"]
    assert builds.http.get(f"/json/job/{nomad}/status").json()["job_id"] == job_id
