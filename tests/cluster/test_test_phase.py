"""Phase test: how commands run, how they end, and what of each one's output can be read."""

from __future__ import annotations

from typing import Any

import pytest
from builds import Builds, cli, eventually
from listening import Metadata

pytestmark = pytest.mark.slow

LINES = 400


def logs(builds: Builds, job_id: str, **fields: Any) -> dict[str, Any]:
    answer = builds.http.post("/mcp/getLogs", json={"job_id": job_id, **fields})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def words(lines: list[str]) -> list[str]:
    """What the command itself printed: the first line is the runner's, with the command."""
    assert lines[0].startswith("test ")
    return lines[1:]


def test_the_output_of_each_command_can_be_read_apart(builds: Builds) -> None:
    request = builds.request(
        builds.dockerfile("RUN true"),
        test={"commands": ["echo one", f"seq {LINES}", ["echo", "three"]]},
    )
    status = builds.run(request, "SUCCEEDED")
    first, second, third = status["commands"]
    assert [one["number"] for one in status["commands"]] == [1, 2, 3]
    assert first["output_tail"] == ["one"]
    assert second["output_tail"] == [str(number) for number in range(LINES - 19, LINES + 1)]
    assert third["output_tail"] == ["three"]
    assert [one["exit_code"] for one in status["commands"]] == [0, 0, 0]
    assert all(one["duration_seconds"] > 0 for one in status["commands"])

    job_id = status["job_id"]
    assert words(logs(builds, job_id, test=1)["logs"]["test"]) == ["one"]
    whole = logs(builds, job_id, test=2)
    assert words(whole["logs"]["test"]) == [str(number) for number in range(1, LINES + 1)]
    assert whole["logs"]["build"] is None
    assert words(logs(builds, job_id, test=3)["logs"]["test"]) == ["three"]
    found = logs(builds, job_id, test=2, search="7$", context=0)
    assert found["matches"] == LINES // 10
    # Page by page it is the same, and ends with the command's output.
    pages: list[str] = []
    page = logs(builds, job_id, test=2, from_start=True, max_tokens=300)
    while page["more"]:
        pages += page["logs"]["test"]
        page = logs(builds, job_id, test=2, after=page["cursor"], max_tokens=300)
    pages += page["logs"]["test"]
    assert pages == whole["logs"]["test"]
    shown = cli(builds.cluster, "nbs", "logs", "--addr", builds.address, job_id, "--test", "3")
    assert "three" in shown.stdout
    assert "one" not in shown.stdout
    wrong = builds.http.post("/mcp/getLogs", json={"job_id": job_id, "test": 4})
    assert wrong.status_code == 422
    assert wrong.json()["problems"][0]["field"] == "test"


def test_every_command_runs_by_request_and_every_failure_is_told(builds: Builds) -> None:
    commands: list[str | list[str]] = ["exit 3", "echo fine", "kill -9 $$", ["/no/such"], "true"]
    request = builds.request(
        builds.dockerfile("RUN true"), test={"commands": commands, "keep_going": True}
    )
    status = builds.run(request, "FAILED")
    failure = status["failure"]
    assert failure["reason"] == "TestFailed"
    assert (failure["step"], failure["exit_code"]) == ("test 1/5", 3)
    assert failure["message"].startswith(
        "3 of 5 tests failed: test 1/5 exited with status 3; test 3/5 was ended by SIGKILL; "
        "test 4/5: "
    )
    ends = [(one["exit_code"], one["signal"]) for one in status["commands"]]
    assert [*ends[:3], ends[4]] == [(3, None), (0, None), (137, "SIGKILL"), (0, None)]
    assert ends[3][0] != 0
    stopped = builds.run({**request, "test": {"commands": commands}}, "FAILED")
    assert len(stopped["commands"]) == 1


def test_an_image_without_shell_runs_lists_and_says_what_a_string_needs(builds: Builds) -> None:
    repository = builds.repository(
        {
            "Dockerfile": f"FROM {builds.cluster.base_image} AS tools\n"
            "FROM scratch\n"
            "COPY --from=tools /bin/busybox /busybox\n"
            "USER 1234:2345\n"
            "WORKDIR /work\n"
            "ENV COLOUR=green\n"
            'ENTRYPOINT ["/busybox", "test", "-d", "/work"]\n'
        }
    )
    checks = [
        ["/busybox", "test", "!", "-e", "/bin/sh"],
        ["/busybox", "sh", "-c", 'test "$(/busybox id -u):$(/busybox id -g)" = 1234:2345'],
        ["/busybox", "sh", "-c", 'test "$PWD $COLOUR $GIVEN" = "/work green by-the-test"'],
    ]
    test = {"commands": checks, "entry_point": True, "env": {"GIVEN": "by-the-test"}}
    request = builds.request(repository, test=test)
    status = builds.run(request, "SUCCEEDED")
    assert len(status["commands"]) == 4
    failed = builds.run({**request, "test": {"commands": ["true"]}}, "FAILED")["failure"]
    assert failed["reason"] == "TestCommandNotFound"
    assert (
        failed["message"] == "the image has no /bin/sh, which runs test commands that are strings"
    )
    assert "list of words" in failed["hint"]


def test_processes_of_a_command_are_bounded_by_request(builds: Builds) -> None:
    """The commands pass where the limit holds."""
    test = {"commands": ['test "$(ulimit -u)" = 300'], "processes": 300}
    builds.run(builds.request(builds.dockerfile("RUN true"), test=test), "SUCCEEDED")


def test_a_command_sees_nothing_but_the_image(builds: Builds, metadata: Metadata) -> None:
    """What is left of the node from inside: run while another build's test waits beside it."""
    other = builds.submit(
        builds.request(
            builds.dockerfile("RUN true"),
            test={"commands": ["echo other-is-here; sleep 1234"], "timeout": "5m"},
        )
    )
    builds.await_log(other, "other-is-here")
    eventually("the other build tests", lambda: builds.status(other)["status"] == "TESTING")
    alloc, state = builds.status(other)["alloc_id"], builds.cluster.state.root
    probes = [
        # No process but its own, none of the other build, no environment of the runner.
        "! cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' |"
        " grep -q -e 'sleep 123[4]' -e '[n]omad'",
        "! cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -q ^NOMAD_",
        "! env | grep -q -e ^NOMAD_ -e ^NBS_ -e ^VAULT -e ^CONSUL",
        # No file of this or another allocation, by path or through another process's root.
        f"! ls -d {state} /proc/*/root{state} /proc/*/cwd/../../alloc 2>/dev/null | grep -q .",
        f"! grep -rq {alloc} /proc/self/mountinfo /proc/self/cgroup",
        "test ! -e /secrets && test ! -e /alloc && test ! -e /local",
        # Nothing of the kernel that could be changed, no device of the node.
        "! echo 1 > /proc/sys/kernel/panic",
        "! echo b > /proc/sysrq-trigger",
        "! mkdir /sys/fs/cgroup/mine /sys/fs/cgroup/*/mine 2>/dev/null",
        "for one in /dev/sd* /dev/vd* /dev/nvme* /dev/mem /dev/port;"
        " do ! timeout 2 head -c 1 $one >/dev/null 2>&1 || exit 1; done",
        "! mount -t tmpfs none /mnt 2>/dev/null",
        "! unshare -r true 2>/dev/null || ! unshare -rm mount --bind / /mnt 2>/dev/null",
        # The cloud's metadata service, and sockets without a network.
        metadata.closed,
        "! grep -q . /proc/net/route || test $(wc -l < /proc/net/route) -le 1",
        "! find / -xdev -type s 2>/dev/null | grep -q .",
    ]
    # One container for all: a line for each that is open.
    script = "".join(f"( {probe} ) || echo open: {number}\n" for number, probe in enumerate(probes))
    try:
        test = {"commands": ["test -d /proc/1", f"{script}echo all were tried"]}
        status = builds.run(builds.request(builds.dockerfile("RUN true"), test=test), "SUCCEEDED")
        said = [line for line in status["commands"][1]["output_tail"] if "nc:" not in line]
        assert [
            probes[int(line.removeprefix("open: "))] for line in said if line.startswith("open")
        ] == []
        assert said[-1] == "all were tried"
    finally:
        builds.http.post("/mcp/killJob", json={"job_id": other})
        builds.await_status(other, "CANCELLED")
