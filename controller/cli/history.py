"""Commands for many builds: history, cleanup."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from controller.cli import exit_codes, output
from controller.cli.client import Client, CommandError

_FILTERS = ("owner", "status", "repo_url", "since", "limit", "detail", "after")


def history(client: Client, given: argparse.Namespace) -> int:
    """List builds, the newest first."""
    asked = {name: getattr(given, name) for name in _FILTERS}
    while True:
        page = client.post("getHistory", asked)
        if given.json:
            print(json.dumps(page))
        else:
            for job in page["jobs"]:
                print(output.listed(job))
        if not (given.all and page["next"]):
            break
        asked["after"] = page["next"]
    if page["next"] and not given.json:
        print(f"nbs: {page['total']} builds; --all shows all of them", file=sys.stderr)
    return exit_codes.OK


def cleanup(client: Client, given: argparse.Namespace) -> int:
    """Remove records, logs and intermediate images of ended builds."""
    asked: dict[str, Any] = {
        "job_id": given.job_id,
        "older_than": given.older_than,
        "all": given.all,
        "owner": given.owner,
        "dry_run": given.dry_run,
    }
    if not (given.dry_run or given.yes):
        _ask(client, asked)
    answer = client.post("cleanup", asked)
    print(json.dumps(answer) if given.json else output.cleaned(answer))
    return exit_codes.OK if answer["success"] else exit_codes.BUILD_FAILED


def _ask(client: Client, asked: dict[str, Any]) -> None:
    """Show what would go, and let a person say yes. Raises CommandError."""
    if not sys.stdin.isatty():
        raise CommandError(
            "nobody can be asked here whether to remove it: give --yes, or --dry-run to see it",
            exit_codes.INVALID,
        )
    would = client.post("cleanup", {**asked, "dry_run": True})
    print(output.cleaned(would), file=sys.stderr)
    print("Remove it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was removed", exit_codes.INVALID)
