"""Runs the conformance suite and reads what it found."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.node_packages import NodePackages

SUITE = "@modelcontextprotocol/conformance/dist/index.js"
_LINE = re.compile(r"^([✓✗]) (\S+): (\d+) passed, (\d+) failed$", re.MULTILINE)
_SERVER = re.compile(r"^server:\n((?:  .*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """What one run said."""

    exit_code: int
    output: str
    passed: frozenset[str]
    failed: frozenset[str]


def run(packages: NodePackages, url: str, *arguments: str) -> Report:
    """Run the suite's server part against `url`, or against a scenario of it."""
    done = subprocess.run(
        [packages.node, packages.module(SUITE), "server", "--url", url, *arguments],
        cwd=packages.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    output = done.stdout + done.stderr
    found = _LINE.findall(output.rpartition("=== SUMMARY ===")[2])
    return Report(
        done.returncode,
        output,
        frozenset(name for mark, name, _, _ in found if mark == "✓"),
        frozenset(name for mark, name, _, _ in found if mark == "✗"),
    )


def required(packages: NodePackages, revision: str) -> frozenset[str]:
    """The scenarios that a revision of the protocol requires of a server."""
    path = packages.module(f"@modelcontextprotocol/conformance/requirements/{revision}.yaml")
    return named(path)


def named(path: Path) -> frozenset[str]:
    """The scenarios that the section `server` of a YAML file lists."""
    section = _SERVER.search(path.read_text("utf-8"))
    assert section, path
    return frozenset(re.findall(r"^  - (\S+)", section[1], re.MULTILINE))
