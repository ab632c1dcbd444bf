"""The command line: parse, run one command, print, exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from controller import __version__
from controller.cli import builds, exit_codes, history, options, promotion
from controller.cli.client import Client, CommandError, find
from controller.contract.results import PHASES

_VERIFY = "Check that an image is signed by a key; asks the registry only."
Command = Callable[[Client, argparse.Namespace], int]
_EPILOG = """\
Also: `nbs serve` runs the controller, `nbs task PHASE` a phase inside a task.
Environment: NBS_ADDR is the controller's address (else Consul is asked), NBS_TOKEN a credential.
Exit codes: 0 well, 1 the build or a check failed, 2 the request is wrong, 3 the service cannot be
reached or is full, 4 no such build, 5 not allowed, 6 the time to wait is over, 130 interrupted.
"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        if hasattr(parsed, "alone"):
            return int(parsed.alone(parsed, environ))
        client = Client(parsed.addr or find(environ), environ.get("NBS_TOKEN", ""))
        return int(parsed.command(client, parsed))
    except CommandError as error:
        if parsed.json:
            print(json.dumps(error.body or {"error": str(error), "name": "not_asked"}))
        else:
            print(f"nbs: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        sys.stderr.close()
        return exit_codes.OK
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbs",
        description="Build images from Git on Nomad.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--addr", help="the controller's address (default: NBS_ADDR, then Consul)")
    common.add_argument("--json", action="store_true", help="print JSON, one document a line")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = commands.add_parser(
            name, parents=[common], help=command.__doc__, description=command.__doc__
        )
        one.set_defaults(command=command)
        return one

    def add_for_build(name: str, command: Command) -> argparse.ArgumentParser:
        one = add(name, command)
        one.add_argument("job_id", help="the id that submit printed, or a Nomad job ID")
        return one

    for name, command in (("submit", builds.submit), ("check", builds.check)):
        one = add(name, command)
        one.add_argument("file", nargs="?", help="build.json, or - for standard input")
        if name == "submit":
            one.add_argument("-w", "--watch", action="store_true", help="follow it to its end")
        options.add_to(one)
    one = add_for_build("wait", builds.wait)
    one.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so long")
    add_for_build("status", builds.status)
    add_for_build("failure", builds.failure)
    _add_log_options(add_for_build("logs", builds.logs))
    add_for_build("kill", builds.kill)
    one = add_for_build("rerun", builds.rerun)
    one.add_argument("--phase", choices=("test", "publish"), required=True)
    one.add_argument("--idempotency-key", metavar="KEY")
    one.add_argument("-w", "--watch", action="store_true", help="follow it to its end")
    _add_history_options(add("history", history.history))
    _add_cleanup_options(add("cleanup", history.cleanup))
    _add_promotion_options(add("promote", promotion.promote))
    _add_verify(commands.add_parser("verify", parents=[common], help=_VERIFY, description=_VERIFY))
    return parser


def _add_verify(one: argparse.ArgumentParser) -> None:
    one.add_argument("image", help="HOST/REPOSITORY:TAG or …@sha256:…")
    one.add_argument("--key", required=True, metavar="FILE", help="the public key, in PEM")
    one.add_argument(
        "--insecure", action="store_true", help="a registry without TLS or a known certificate"
    )
    one.set_defaults(alone=_verify)


def _verify(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from controller.cli.verify import verify  # only here: it needs a library of cryptography

    return verify(parsed, environ)


def _add_log_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("-f", "--follow", action="store_true", help="go on until the build ends")
    one.add_argument("--phase", choices=PHASES)
    one.add_argument("--test", type=int, metavar="N", help="only the output of test command N")
    one.add_argument("--tail", type=int, metavar="LINES", help="the last lines of each phase")
    one.add_argument("--search", metavar="RE", help="only lines that match (RE2), numbered")
    one.add_argument("--context", type=int, metavar="LINES", help="lines around each match")
    one.add_argument("--from-start", action="store_true", help="oldest lines first")
    one.add_argument("--after", metavar="CURSOR", help="go on where an earlier answer ended")
    one.add_argument("--max-tokens", type=int, metavar="N", help="bound the answer's length")


def _add_history_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--owner")
    one.add_argument("--status", type=str.upper, help="SUCCEEDED, FAILED, BUILDING, …")
    one.add_argument("--repo-url", metavar="URL")
    one.add_argument("--since", metavar="WHEN", help="7d, 12h, or a time (RFC 3339)")
    one.add_argument("--limit", type=int, default=20, metavar="N", help="builds a page (20)")
    one.add_argument("--all", action="store_true", help="every page")
    one.add_argument("--detail", choices=("summary", "full"), default="summary")
    one.add_argument("--after", metavar="CURSOR", help="the page after an earlier one")


def _add_cleanup_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("job_id", nargs="?", help="this build only")
    one.add_argument("--older-than", metavar="AGE", help="builds that ended so long ago: 30d, 12h")
    one.add_argument("--all", action="store_true", help="every build that has ended")
    one.add_argument("--owner", help="only builds of this owner")
    one.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    one.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_promotion_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("job_id", nargs="?", help="the build whose image it is")
    one.add_argument("--image", metavar="REPOSITORY", help="instead of a build, with --digest")
    one.add_argument("--digest", metavar="sha256:…")
    one.add_argument(
        "--tag", dest="tags", action="append", metavar="TAG", help="tag to give; repeatable"
    )
    one.add_argument("--destination", metavar="REPOSITORY", help="copy it there")
    one.add_argument("--registry-credentials-path", metavar="VAULT_PATH")
    one.add_argument("--destination-credentials-path", metavar="VAULT_PATH")
    one.add_argument("--owner")
    one.add_argument("--idempotency-key", metavar="KEY")
    one.add_argument("--promotion-id", metavar="ID", help="ask where a promotion is")
