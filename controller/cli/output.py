"""How builds and log lines look in a terminal; without colours where it is none."""

from __future__ import annotations

import sys
from typing import Any

_COLOURS = {
    "build": "36",
    "test": "35",
    "publish": "34",
    "SUCCEEDED": "32",
    "FAILED": "31",
    "CANCELLED": "33",
    "missed": "33",
}


def _paint(text: str, what: str) -> str:
    if not sys.stdout.isatty() or what not in _COLOURS:
        return text
    return f"\x1b[{_COLOURS[what]}m{text}\x1b[0m"


def line(phase: str, text: str) -> str:
    """One log line with its phase."""
    return f"{_paint(f'{phase:>7}', phase)} | {text}"


def event(event: dict[str, Any]) -> str:
    """One event of a stream; empty for what people need not see."""
    kind = event["event"]
    if kind == "log":
        return line(event["phase"], event["message"])
    if kind == "phase":
        return (
            ""
            if event.get("phase_status") == "running"
            else _paint(f"------- {event['message']}", event["phase"])
        )
    if kind == "missed":
        return _paint(f"------- {event['message']}", "missed")
    if kind == "end":
        return _paint(f"======= {event['message']}", event["status"]) + _published(event)
    # Later states show in the phases themselves.
    return f"        {event['message']}" if event["status"] == "PENDING" else ""


def _published(build: dict[str, Any]) -> str:
    if not build.get("digest"):
        hint = (build.get("failure") or {}).get("hint")
        return f"\n        {hint}" if hint else ""
    return "".join(f"\n        {reference}@{build['digest']}" for reference in build["references"])


def build(build: dict[str, Any]) -> str:
    """A build's state in a few lines."""
    lines = [f"{build['job_id']}  {_paint(build['status'], build['status'])}"]
    if build.get("message"):
        lines.append(f"  {build['message']}")
    for phase, view in build["phases"].items():
        took = view["duration_seconds"]
        lines.append(f"  {phase:<8} {view['status']:<10}" + (f" {took:.1f} s" if took else ""))
    if build.get("commit"):
        lines.append(f"  commit   {build['commit']}")
    lines += [f"  image    {reference}@{build['digest']}" for reference in build["references"]]
    if failure := build.get("failure"):
        lines.append(f"  {failure['phase']} {failure['reason']}: {failure['message']}")
        lines += [f"  | {text}" for text in failure["log_tail"][-10:]]
        lines.append(f"  {failure['hint']}")
    return "\n".join(lines)
