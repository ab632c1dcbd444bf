"""The commands: parse, call, print, exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller import __version__
from controller.cli import exit_codes, options, output
from controller.cli.client import Client, CommandError, find
from controller.contract.results import PHASES

Command = Callable[[Client, argparse.Namespace], int]


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(Client(parsed.addr or find(environ)), parsed))
    except CommandError as error:
        if parsed.json and error.body:
            print(json.dumps(error.body))
        else:
            print(f"nbs: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        sys.stderr.close()
        return exit_codes.OK
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def submit(client: Client, given: argparse.Namespace) -> int:
    """Start a build; with --watch, follow it to its end."""
    document = options.document(given)
    options.local_problems(document)
    answer = client.post("submitJob", document)
    if given.watch:
        if not given.json:
            print(f"job_id {answer['job_id']}", file=sys.stderr)
        return _follow(client, answer["job_id"], as_json=given.json)
    print(json.dumps(answer) if given.json else answer["job_id"])
    return exit_codes.OK


def status(client: Client, given: argparse.Namespace) -> int:
    """Show where a build is."""
    build = client.post("getStatus", {"job_id": given.job_id})
    print(json.dumps(build) if given.json else output.build(build))
    return exit_codes.BUILD_FAILED if build["status"] in ("FAILED", "CANCELLED") else exit_codes.OK


def logs(client: Client, given: argparse.Namespace) -> int:
    """Print a build's log."""
    if given.follow:
        return _follow(client, given.job_id, as_json=given.json, phase=given.phase)
    answer = client.post(
        "getLogs", {"job_id": given.job_id, "phase": given.phase, "tail": given.tail}
    )
    if given.json:
        print(json.dumps(answer))
        return exit_codes.OK
    for phase, lines in answer["logs"].items():
        for line in lines or []:
            print(output.line(phase, line))
    return exit_codes.OK


def kill(client: Client, given: argparse.Namespace) -> int:
    """Stop a build."""
    answer = client.post("killJob", {"job_id": given.job_id})
    print(json.dumps(answer) if given.json else answer["message"])
    return exit_codes.OK if answer["success"] else exit_codes.BUILD_FAILED


def _follow(client: Client, job_id: str, *, as_json: bool, phase: str | None = None) -> int:
    final: dict[str, Any] = {}
    for event in client.stream(job_id):
        if event["event"] == "end":
            final = event
        if phase and event["phase"] not in ("", phase):
            continue
        told = json.dumps(event) if as_json else output.event(event)
        if told:
            print(told, flush=True)
    return exit_codes.OK if final.get("status") == "SUCCEEDED" else exit_codes.BUILD_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbs",
        description="Build images from Git on Nomad.",
        epilog="Also: `nbs serve` runs the controller, `nbs task PHASE` a phase inside a task. "
        "Exit codes: 0 well, 1 the build failed, 2 the request is wrong, 3 the service cannot be "
        "reached, 4 no such build.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--addr", help="the controller's address (default: NBS_ADDR, then Consul)")
    common.add_argument("--json", action="store_true", help="print JSON, one document a line")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name, parents=[common], help=command.__doc__, description=command.__doc__
        )
        one.set_defaults(command=command)
        return one

    one = add("submit", submit)
    one.add_argument("file", nargs="?", help="build.json, or - for standard input")
    one.add_argument("-w", "--watch", action="store_true", help="follow the build to its end")
    options.add_to(one)
    add("status", status).add_argument("job_id")
    one = add("logs", logs)
    one.add_argument("job_id")
    one.add_argument("-f", "--follow", action="store_true", help="go on until the build ends")
    one.add_argument("--phase", choices=PHASES)
    one.add_argument("--tail", type=int, metavar="LINES", help="the last lines of each phase")
    add("kill", kill).add_argument("job_id")
    return parser
