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
    # A mere state shows in the phases themselves; what a build waits for does not.
    if event["message"].startswith("build is") and event["status"] != "PENDING":
        return ""
    return f"        {event['message']}"


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
    if patch := build.get("patch"):
        lines.append(
            f"  patch    {patch['digest']}"
            f" ({patch['files']} files, +{patch['additions']} -{patch['deletions']})"
        )
    lines += [f"  image    {reference}@{build['digest']}" for reference in build["references"]]
    lines += [
        f"  build    {' '.join(one['platforms'])}: {one['job_id']} {one['status']}"
        for one in build.get("platform_jobs") or ()
    ]
    if rerun_of := build.get("rerun_of"):
        lines.append(f"  rerun of {rerun_of}")
    lines += _kept(build)
    if failure := build.get("failure"):
        lines.append(f"  {failure['phase']} {failure['reason']}: {failure['message']}")
        lines += [f"  | {text}" for text in failure["log_tail"][-10:]]
        lines.append(f"  {failure['hint']}")
    return "\n".join(lines)


def _kept(answer: dict[str, Any]) -> list[str]:
    kept = answer.get("intermediate") or {}
    if problem := kept.get("problem"):
        return [f"  kept     no image: {problem['reason']}: {problem['message']}"]
    return [f"  {name:<8} {kept[name]}" for name in ("pull", "run") if kept.get(name)]


def waited(answer: dict[str, Any]) -> str:
    """What came of waiting."""
    lines = [f"{answer['job_id']}  {_paint(answer['status'], answer['status'])}"]
    lines += [f"  {reference}@{answer['digest']}" for reference in answer["references"]]
    if answer["error"]:
        lines += [f"  {answer['error']}", f"  why and what now: nbs failure {answer['job_id']}"]
    if not answer["final"] and answer["message"]:
        lines.append(f"  {answer['message']}")
    return "\n".join(lines)


def failure(answer: dict[str, Any]) -> str:
    """Why a build failed, and what to do."""
    if not answer["failed"]:
        return f"{answer['status']}: {answer['next']}"
    where = f" at line {answer['dockerfile_line']}" if answer["dockerfile_line"] else ""
    code = f", exit code {answer['exit_code']}" if answer["exit_code"] is not None else ""
    lines = [f"{answer['phase']} {_paint(answer['reason'], 'FAILED')}{where}{code}"]
    lines.append(f"  {answer['message']}")
    lines += [f"  step     {answer['step']}"] if answer["step"] else []
    lines += [f"  command  {answer['command']}"] if answer["command"] else []
    lines += _kept(answer)
    lines += [f"  > {text}" for text in answer["error_lines"]]
    lines += [f"  | {text}" for text in answer["log_tail"]]
    retry = "may succeed when tried again" if answer["retryable"] else "will fail again unchanged"
    lines += [f"  {answer['hint']}", f"  for the {answer['fix_owner']}; {retry}"]
    return "\n".join(lines)


def checks(answer: dict[str, Any]) -> str:
    """What a check found, a line each."""
    colours = {"passed": "SUCCEEDED", "failed": "FAILED", "warning": "missed"}
    lines = []
    for one in answer["checks"]:
        status = _paint(f"{one['status']:<7}", colours.get(one["status"], ""))
        lines.append(f"{status}  {one['name']:<20}  {one['message']}")
        if one["status"] in ("failed", "warning") and one["fix"]:
            lines.append(f"{'':<31}{one['fix']}")
    lines.append("ok: it can be built" if answer["ok"] else "not ok")
    return "\n".join(lines)


def listed(job: dict[str, Any]) -> str:
    """A build in a list."""
    took = job.get("duration_seconds")
    told = f"{took:.0f} s" if took is not None else ""
    status = _paint(f"{job['status']:<10}", job["status"])
    source = f"{job.get('repo_url') or '?'}@{job.get('git_ref') or '?'}"
    reason = f"  {job['reason']}" if job.get("reason") else ""
    created = (job.get("created_at") or "")[:19]
    return f"{created}  {status}  {told:>7}  {job['job_id']}  {job.get('owner')}  {source}{reason}"


def cleaned(answer: dict[str, Any]) -> str:
    """What was removed, or would be."""
    lines = [answer["message"]]
    for kind, what in answer["removed"].items():
        lines += [f"  {kind:<8} {one}" for one in what]
    lines += [f"  kept     {one['job_id']}: {one['why']}" for one in answer["kept"]]
    return "\n".join(lines)


def verified(found: dict[str, Any]) -> str:
    """What holds of a signed image."""
    lines = [f"signed: {found['image']}", *(f"  as       {one}" for one in found["signed_as"])]
    return "\n".join(lines + [f"  attested {one['kind']}" for one in found["attestations"]])


def promoted(answer: dict[str, Any]) -> str:
    """What a promotion did."""
    lines = [f"{reference}@{answer['digest']}" for reference in answer["references"]]
    if failed := answer["failure"]:
        lines += [f"{failed['reason']}: {failed['message']}", f"  {failed['hint']}"]
    return "\n".join(lines)
