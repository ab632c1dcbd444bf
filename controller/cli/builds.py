"""Commands for one build: check, submit, wait, status, failure, logs, kill."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

from controller.cli import exit_codes, options, output
from controller.cli.client import Client, CommandError

_ROUND = 40  # seconds that one call waits
_NOT_FOLLOWED = ("test", "tail", "search", "context", "from_start", "max_tokens")


def submit(client: Client, given: argparse.Namespace) -> int:
    """Start a build; with --watch, follow it to its end."""
    document = options.document(given)
    options.local_problems(document, known=client.known)
    answer = client.post("submitJob", document)
    if answer["joined"] and not given.json:
        print("an equal request is being built already: this is its build", file=sys.stderr)
    if not given.json:
        for one in answer["platform_jobs"]:
            print(f"{' '.join(one['platforms'])}: {one['job_id']}", file=sys.stderr)
    if given.watch:
        if not given.json:
            print(f"job_id {answer['job_id']}", file=sys.stderr)
        return _follow(client, answer["job_id"], as_json=given.json)
    print(json.dumps(answer) if given.json else answer["job_id"])
    return exit_codes.OK


def rerun(client: Client, given: argparse.Namespace) -> int:
    """Test or publish the image of an ended build again; nothing is rebuilt."""
    fields = ("job_id", "phase", "idempotency_key")
    answer = client.post("rerunPhase", {name: getattr(given, name) for name in fields})
    if given.watch:
        if not given.json:
            print(f"job_id {answer['job_id']}", file=sys.stderr)
        return _follow(client, answer["job_id"], as_json=given.json)
    print(json.dumps(answer) if given.json else answer["job_id"])
    return exit_codes.OK


def check(client: Client, given: argparse.Namespace) -> int:
    """Look whether a build would get through, without building."""
    answer = client.post("checkJob", options.document(given))
    print(json.dumps(answer) if given.json else output.checks(answer))
    return exit_codes.OK if answer["ok"] else exit_codes.BUILD_FAILED


def wait(client: Client, given: argparse.Namespace) -> int:
    """Wait for a build's end."""
    deadline = None if given.timeout is None else time.monotonic() + given.timeout
    asked: dict[str, Any] = {"job_id": given.job_id, "lines": 0 if given.json else 5}
    told = ""
    while True:
        left = _ROUND if deadline is None else deadline - time.monotonic()
        seconds = max(0, min(_ROUND, math.ceil(left)))
        answer = client.ask_again("waitForJob", {**asked, "timeout": seconds})
        if answer["final"]:
            print(json.dumps(answer) if given.json else output.waited(answer))
            return _code(answer["status"])
        if deadline is not None and time.monotonic() >= deadline:
            print(json.dumps(answer) if given.json else output.waited(answer))
            return exit_codes.TIMED_OUT
        now = answer["step"] or answer["message"] or answer["status"]
        if not given.json and now != told:
            print(f"{answer['status']}: {now}", file=sys.stderr)
            told = now
        asked["after"] = answer["cursor"]


def status(client: Client, given: argparse.Namespace) -> int:
    """Show where a build is."""
    build = client.post("getStatus", {"job_id": given.job_id})
    print(json.dumps(build) if given.json else output.build(build))
    return _code(build["status"], running=exit_codes.OK)


def failure(client: Client, given: argparse.Namespace) -> int:
    """Say why a build failed, and what to do."""
    answer = client.post("getFailure", {"job_id": given.job_id})
    print(json.dumps(answer) if given.json else output.failure(answer))
    return exit_codes.BUILD_FAILED if answer["failed"] else exit_codes.OK


def logs(client: Client, given: argparse.Namespace) -> int:
    """Print a build's log, or what matches in it."""
    if given.follow:
        refused = [name for name in _NOT_FOLLOWED if getattr(given, name)]
        if refused:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in refused)
            raise CommandError(
                f"{options} cannot be followed: leave --follow out", exit_codes.INVALID
            )
        return _follow(
            client, given.job_id, as_json=given.json, phase=given.phase, after=given.after or ""
        )
    wanted = ("phase", *_NOT_FOLLOWED, "after")
    answer = client.post(
        "getLogs", {"job_id": given.job_id, **{name: getattr(given, name) for name in wanted}}
    )
    if given.json:
        print(json.dumps(answer))
        return exit_codes.OK
    for phase, lines in answer["logs"].items():
        for line in lines or []:
            print(output.line(phase, line))
    if answer["note"]:
        print(f"nbs: {answer['note']}", file=sys.stderr)
        if answer["more"]:
            print(f"nbs: cursor {answer['cursor']}", file=sys.stderr)
    return exit_codes.OK


def kill(client: Client, given: argparse.Namespace) -> int:
    """Stop a build."""
    answer = client.post("killJob", {"job_id": given.job_id})
    print(json.dumps(answer) if given.json else answer["message"])
    return exit_codes.OK if answer["success"] else exit_codes.BUILD_FAILED


def _code(status: str, *, running: int = exit_codes.BUILD_FAILED) -> int:
    if status in ("FAILED", "CANCELLED"):
        return exit_codes.BUILD_FAILED
    return exit_codes.OK if status == "SUCCEEDED" else running


def _follow(
    client: Client, job_id: str, *, as_json: bool, phase: str | None = None, after: str = ""
) -> int:
    final: dict[str, Any] = {}
    for event in client.stream(job_id, after):
        if event["event"] == "end":
            final = event
        if phase and event["phase"] not in ("", phase):
            continue
        told = json.dumps(event) if as_json else output.event(event)
        if told:
            print(told, flush=True)
    return _code(final.get("status", ""))
