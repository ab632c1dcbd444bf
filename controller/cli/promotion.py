"""The command that gives a published image further tags."""

from __future__ import annotations

import argparse
import json
import sys

from controller.cli import exit_codes, output
from controller.cli.client import Client

_FIELDS = (
    "job_id",
    "image",
    "digest",
    "tags",
    "destination",
    "registry_credentials_path",
    "destination_credentials_path",
    "owner",
    "idempotency_key",
    "promotion_id",
)


def promote(client: Client, given: argparse.Namespace) -> int:
    """Give a published image further tags, or copy it to another registry."""
    answer = client.post("promoteImage", {name: getattr(given, name) for name in _FIELDS})
    while answer["status"] == "RUNNING":
        if not given.json:
            print(f"promotion {answer['promotion_id']}: {answer['message']}", file=sys.stderr)
        answer = client.ask_again("promoteImage", {"promotion_id": answer["promotion_id"]})
    print(json.dumps(answer) if given.json else output.promoted(answer))
    return exit_codes.OK if answer["status"] == "SUCCEEDED" else exit_codes.BUILD_FAILED
