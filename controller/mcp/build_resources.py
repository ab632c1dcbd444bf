"""Builds as resources: state, log, log of a phase, and outcome.

Each says the same as a tool does; clients that show resources let people attach them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

import mcp_types as types

from controller.contract.results import PHASES
from controller.mcp import recent, refusal
from controller.mcp.offer import Context, caller
from controller.operations import BY_NAME
from controller.service import Service

_URI = re.compile(r"build://([^/?#]+)(?:/(log|outcome)|/log/(\w+))?")
_JSON, _TEXT = "application/json", "text/plain"
_LINES = 1000
_FINAL_MS, _LIVE_MS = 300_000, 1000  # how long a client may keep what it read
_OUTCOME = ("job_id", "status", "final", "commit", "image", "digest", "references", "error", "next")
_TEMPLATES = (
    ("build://{job_id}", "build", "A build", "Status, phases, steps, image and failure.", _JSON),
    ("build://{job_id}/log", "build-log", "Log of a build", "The newest lines.", _TEXT),
    (
        "build://{job_id}/log/{phase}",
        "build-phase-log",
        "Log of one phase",
        "The newest lines of build, test or publish.",
        _TEXT,
    ),
    (
        "build://{job_id}/outcome",
        "build-outcome",
        "Outcome of a build",
        "What was published, or why it failed.",
        _JSON,
    ),
)


class BuildResources:
    """The builds of a service."""

    templates = tuple(
        types.ResourceTemplate(
            uri_template=uri, name=name, title=title, description=about, mime_type=mime
        )
        for uri, name, title, about, mime in _TEMPLATES
    )

    def __init__(self, service: Service) -> None:
        self._service = service

    async def listed(self, context: Context) -> Sequence[types.Resource]:
        """The newest builds."""
        with refusal.as_json_rpc():
            builds = await recent.builds(self._service, caller(context))
        return [
            types.Resource(
                uri=f"build://{quote(build['job_id'])}",
                name=build["job_id"],
                title=_title(build),
                mime_type=_JSON,
            )
            for build in builds
        ]

    async def read(self, context: Context, uri: str) -> types.ReadResourceResult:
        """One resource. Raises MCPError."""
        found = _URI.fullmatch(uri)
        if not found or found[3] not in (None, *PHASES):
            raise refusal.invalid(
                f"unknown resource {uri[:200]!r}",
                "read one of the templates, with phase build, test or publish",
                uri=uri,
                templates=[template.uri_template for template in self.templates],
            )
        job_id, what, phase = unquote(found[1]), found[2], found[3]
        with refusal.as_json_rpc():
            if phase or what == "log":
                return await self._log(context, uri, job_id, phase)
            if what == "outcome":
                return await self._outcome(context, uri, job_id)
            return _read(uri, await self._ask(context, "getStatus", job_id))

    async def complete(
        self, context: Context, template: str, argument: str, value: str
    ) -> Sequence[str] | None:
        """Values of `job_id` and `phase`."""
        if template not in [one.uri_template for one in self.templates]:
            return None
        if argument == "phase":
            return [phase for phase in PHASES if phase.startswith(value)]
        if argument == "job_id":
            with refusal.as_json_rpc():
                return await recent.job_ids(self._service, caller(context), value)
        return ()

    async def _log(
        self, context: Context, uri: str, job_id: str, phase: str | None
    ) -> types.ReadResourceResult:
        answer = await self._ask(context, "getLogs", job_id, phase=phase, tail=_LINES)
        parts = [
            text
            for one, lines in answer["logs"].items()
            for text in ([] if phase else [f"==> {one}"] if lines else []) + (lines or [])
        ]
        return _result(uri, "\n".join([*parts, ""]), _TEXT, _LIVE_MS)

    async def _outcome(self, context: Context, uri: str, job_id: str) -> types.ReadResourceResult:
        now = await self._ask(context, "waitForJob", job_id, timeout=0, lines=0)
        shown = {name: now[name] for name in _OUTCOME}
        if now["error"]:
            shown["failure"] = await self._ask(context, "getFailure", job_id)
        return _read(uri, shown)

    async def _ask(self, context: Context, name: str, job_id: str, **given: Any) -> dict[str, Any]:
        document = {"job_id": job_id, **given}
        return await BY_NAME[name].run(self._service, document, caller(context))


def _title(build: dict[str, Any]) -> str:
    """A build in words; what is not known of it is left out."""
    what = " ".join(build[name] for name in ("repo_url", "git_ref") if build.get(name))
    who = f" for {build['owner']}" if build.get("owner") else ""
    when = f" at {build['created_at']}" if build.get("created_at") else ""
    return f"{build['status']}: {what}{who}{when}"


def _read(uri: str, document: dict[str, Any]) -> types.ReadResourceResult:
    final = document["status"] in ("SUCCEEDED", "FAILED", "CANCELLED")
    text = json.dumps(document, ensure_ascii=False, indent=1)
    return _result(uri, text, _JSON, _FINAL_MS if final else _LIVE_MS)


def _result(uri: str, text: str, mime: str, ttl_ms: int) -> types.ReadResourceResult:
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=uri, text=text, mime_type=mime)],
        ttl_ms=ttl_ms,
        cache_scope="private",
    )
