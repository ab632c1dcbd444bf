"""Looks at a request before anything is built: would it get through?

What needs a credential is looked at by the pack's job `image-check`, with the phases' own Vault
roles; everything else here. Every check is made that can be, so that all mistakes are told at once.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from controller.access.credential_paths import CredentialPaths
from controller.access.owner_rules import OwnerRules
from controller.clients.nomad import NomadClient
from controller.clients.vault import VaultClient
from controller.concurrently import concurrently
from controller.contract import payload, request
from controller.contract.build_secrets import vault_paths
from controller.contract.json_schema import Problem
from controller.errors import (
    InvalidFieldsError,
    ParentMissingError,
    ServiceError,
    TooManyChecksError,
)
from controller.settings import Settings
from controller.status import node_capacity
from controller.submission import build_class
from controller.submission.one_off import OneOff, OneOffState
from controller.webhook_addresses import parse_allowed
from controller.webhooks import acceptance

JOB, TASKS = "image-check", ("source", "push")
CHECKS = (
    "request",
    "build_class",
    "placement",
    "git_credentials",
    "registry_credentials",
    "build_secrets",
    "webhook",
    "git_ref",
    "dockerfile",
    "push",
)
_MOST_NODES, _AT_ONCE = 200, 16
_OF_ONE, _OF_ALL = 8, 32  # checks at once: each is a job on the cluster
_WITHIN = 38.0  # seconds for the job
_FIELDS = {
    "git_credentials": ("git_credentials_path",),
    "registry_credentials": ("registry_credentials_path", "additional_repositories"),
    "build_secrets": ("build_secrets", "build_ssh"),
}
Tell = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """What one check found: passed, warning, failed or skipped; where, and what to do."""

    name: str
    status: str
    message: str
    fix: str = ""
    field: str = ""
    line: int | None = None


class Check:
    """Raises UnavailableError and RefusedError where nothing can be checked at all."""

    def __init__(
        self,
        settings: Settings,
        nomad: NomadClient,
        one_off: OneOff,
        credentials: CredentialPaths,
        rules: OwnerRules,
        vault: VaultClient | None,
    ) -> None:
        self._parents = settings.parent_jobs
        self._nomad = nomad
        self._one_off = one_off
        self._credentials = credentials
        self._rules = rules
        self._running: Counter[str] = Counter()
        self._vault = vault
        self._allowed = parse_allowed(settings.webhook_allow)

    async def run(self, given: Any, tell: Tell, caller: str) -> dict[str, Any]:
        """The answer of checkJob. Raises TooManyChecksError."""
        running = self._running
        if running[caller] >= _OF_ONE or running.total() >= _OF_ALL:
            raise TooManyChecksError(
                f"{running[caller]} checks of yours and {running.total()} of all run now",
                "wait for one to end",
            )
        running[caller] += 1
        try:
            return await self._run(given, tell)
        finally:
            running[caller] -= 1
            if not running[caller]:
                del running[caller]

    async def _run(self, given: Any, tell: Tell) -> dict[str, Any]:
        try:
            document = request.normalise(given)
            request.encode(document)
        except request.RequestError as error:
            problems = [*error.problems, *self._rules.problems(error.valid)]
            return _answer([_of_problem("request", one) for one in problems])
        except payload.PayloadTooLargeError as error:
            return _answer([Found("request", "failed", str(error), "shorten commands and labels")])
        forbidden = self._rules.problems(document)
        found = [_of_problem("request", one) for one in forbidden]
        found = found or [Found("request", "passed", "every field is valid")]
        await tell(1, len(CHECKS), "the request is valid; looking at the cluster")
        closed = {one.field for one in forbidden}
        placed, paths, webhook = await asyncio.gather(
            self._place(document), self._paths(document, closed), self._webhook(document, closed)
        )
        found += [*placed, *paths, *webhook]
        if forbidden:  # the job below would use what the owner may not use
            return _answer(found)
        await tell(5, len(CHECKS), "looking at repository and registry")
        state, problem = await self._look(document)
        refused = {one.name for one in paths if one.status == "failed"}
        found = _with_secrets(found, state)
        found += _of_source(document, state, problem, refused)
        found += _of_push(document, state, problem, refused)
        parent = next((one.message for one in placed if one.name == "build_class"), None)
        source = state.results.get("source") or {} if state else {}
        return _answer(
            found,
            build_class=parent if placed[0].status == "passed" else None,
            commit=source.get("commit"),
            dockerfile=source.get("dockerfile"),
        )

    async def _place(self, document: dict[str, Any]) -> list[Found]:
        try:
            parts = build_class.by_architecture(self._parents, document)
        except InvalidFieldsError as error:
            return [
                *(_of_problem("build_class", one) for one in error.problems),
                Found("placement", "skipped", "no build class fits"),
            ]
        names = [self._parents[parent].name for parent, _ in parts]
        chosen = Found("build_class", "passed", " and ".join(names))
        placed = [await self._place_in(parent) for parent, _ in parts]
        if len(parts) == 1:
            return [chosen, *placed]
        return [
            chosen,
            *(
                replace(one, message=f"{name}: {one.message}")
                for name, one in zip(names, placed, strict=True)
            ),
        ]

    async def _place_in(self, parent: str) -> Found:
        try:
            job, nodes = await asyncio.gather(self._nomad.job(parent), self._nomad.nodes())
            if job.get("Constraints"):  # only whole nodes show what those speak of
                nodes = [node for node in nodes if node_capacity.takes_work(node, job)]
                ids = [node["ID"] for node in nodes]
                if len(ids) > _MOST_NODES:
                    many = f"{len(ids)} nodes: too many to compare with the job's constraints"
                    return Found("placement", "warning", many, "expect Nomad to decide")
                whole = await concurrently(_AT_ONCE, self._nomad.node, ids)
                nodes = [{**stub, **one} for stub, one in zip(nodes, whole, strict=True)]
        except ServiceError as error:
            missing = ParentMissingError(parent, self._nomad.namespace)
            told = error if error.status != 404 else missing
            return Found("placement", "failed", told.message, told.details)
        if why := node_capacity.impossible(job, nodes):
            fix = "ask the operators for a node, or another size of the build class"
            return Found("placement", "failed", why, fix)
        waiting = await self._waiting(parent)
        if waiting:
            message = f"{waiting} builds of this class wait for a node already"
            return Found("placement", "warning", message, "expect to queue")
        return Found("placement", "passed", "a node is large enough")

    async def _waiting(self, parent: str) -> int:
        children = await self._nomad.children(f"{parent}/")
        return sum(job["Status"] == "pending" for job in children)

    async def _paths(self, document: dict[str, Any], closed: set[str]) -> list[Found]:
        found = []
        for name, fields in _FIELDS.items():
            given = {
                field: path
                for field, path in vault_paths(document)
                if re.split(r"[.\[]", field)[0] in fields
            }
            about = ", ".join(given) or " and ".join(fields)
            if not given:
                found.append(Found(name, "skipped", f"{about} not given", field=fields[0]))
            elif shut := ", ".join(field for field in given if field in closed):
                found.append(Found(name, "skipped", f"{shut} not open to you", field=fields[0]))
            elif not self._credentials.checked:
                found.append(
                    Found(name, "skipped", "the controller knows no Vault", field=fields[0])
                )
            elif problems := await self._credentials.problems(given):
                found += [_of_problem(name, one) for one in problems]
            else:
                words = "there is a secret" if len(given) == 1 else "there are all secrets"
                found.append(Found(name, "passed", words, field=fields[0]))
        return found

    async def _webhook(self, document: dict[str, Any], closed: set[str]) -> list[Found]:
        found = acceptance.problems(document, self._allowed)
        if not document["webhook_url"] and not found:
            return [Found("webhook", "skipped", "webhook_url is not given", field="webhook_url")]
        if "webhook_secret" in closed:
            found.append(
                Problem("webhook_secret", "is not open to you", "see the request's problems")
            )
        elif document["webhook_secret"] and document["webhook_url"]:
            path = {"webhook_secret": document["webhook_secret"]}
            wrong = await self._credentials.problems(path)
            if not wrong and self._vault is not None:
                one = await acceptance.key_problem(document, self._vault)
                wrong = [one] if one else []
            found += wrong
        if found:
            return [_of_problem("webhook", one) for one in found]
        return [Found("webhook", "passed", "it can be sent, as far as DNS has no say in it")]

    async def _look(self, document: dict[str, Any]) -> tuple[OneOffState | None, str]:
        """What the job found; why not, where it did not get to it."""
        sent = {k: v for k, v in document.items() if k not in ("image", "idempotency_key")}
        try:
            child, _ = await self._one_off.start(JOB, sent)
        except ParentMissingError as error:
            return None, error.message
        try:
            state = await self._one_off.wait(child, TASKS, within=_WITHIN)
        except BaseException:  # whoever asked has gone: nobody will ask for this job again
            await asyncio.shield(self._one_off.abandon(child))
            raise
        if not state.over:
            await self._one_off.abandon(child)
            return state, f"the check did not end within {_WITHIN:.0f} s: {state.message}"
        await self._one_off.remove(child, state)
        return state, "" if state.results else f"the check left no result: {state.message}"


def _with_secrets(found: list[Found], state: OneOffState | None) -> list[Found]:
    """What was found, and whether the secrets have the fields that RUN steps want."""
    result = (state.results.get("source") if state else None) or {}
    if not (failed := result.get("secrets_problem")):
        return found
    others = [one for one in found if not (one.name == "build_secrets" and one.status == "passed")]
    return [*others, _of_failure("build_secrets", failed, "build_secrets")]


def _of_source(
    document: Mapping[str, Any], state: OneOffState | None, problem: str, refused: set[str]
) -> list[Found]:
    result = state.results.get("source") if state else None
    if result is None or "git_credentials" in refused:
        why = "git_credentials_path cannot be used" if "git_credentials" in refused else problem
        return [Found(name, "skipped", why) for name in ("git_ref", "dockerfile")]
    failed = result.get("problem")
    commit = result.get("commit")
    if commit is None:
        return [
            _of_failure("git_ref", failed, "git_ref"),
            Found("dockerfile", "skipped", "the source could not be fetched"),
        ]
    found = [Found("git_ref", "passed", f"{document['git_ref']} is {commit}", field="git_ref")]
    if failed:
        return [*found, _of_failure("dockerfile", failed, "dockerfile_path")]
    findings = [
        Found(
            "dockerfile",
            "failed" if one["severity"] == "error" else "warning",
            one["message"],
            one["fix"],
            "dockerfile_path",
            one["line"] or None,
        )
        for one in result.get("findings") or []
    ]
    good = Found("dockerfile", "passed", f"{document['dockerfile_path']} can be built")
    return found + (findings or [good])


def _of_push(
    document: Mapping[str, Any], state: OneOffState | None, problem: str, refused: set[str]
) -> list[Found]:
    result = state.results.get("push") if state else None
    if result is None or "registry_credentials" in refused:
        bad = "registry_credentials" in refused
        why = "registry_credentials_path cannot be used" if bad else problem
        return [Found("push", "skipped", why)]
    if failed := result.get("problem"):
        return [_of_failure("push", failed, "registry_credentials_path")]
    return [Found("push", "passed", f"pushing to {document['image']} is allowed")]


def _of_failure(name: str, failed: Mapping[str, Any] | None, field: str) -> Found:
    if not failed:
        return Found(name, "failed", "the check broke", "see the controller's log", field)
    message = f"{failed['reason']}: {failed['message']}"
    return Found(name, "failed", message, failed["hint"], field, failed.get("dockerfile_line"))


def _of_problem(name: str, one: Problem) -> Found:
    return Found(name, "failed", f"{one.field}: {one.problem}", one.fix, one.field)


def _answer(
    found: list[Found],
    *,
    build_class: str | None = None,
    commit: str | None = None,
    dockerfile: dict[str, Any] | None = None,
) -> dict[str, Any]:
    told = {one.name for one in found}
    found += [
        Found(name, "skipped", "the request has to be corrected first")
        for name in CHECKS
        if name not in told
    ]
    found.sort(key=lambda one: CHECKS.index(one.name))
    # What is not given needs no check; everything else that was skipped is not known.
    optional = {*_FIELDS, "webhook"}
    known = [one for one in found if not (one.status == "skipped" and one.name in optional)]
    return {
        "ok": all(one.status in ("passed", "warning") for one in known),
        "checks": [asdict(one) for one in found],
        "build_class": build_class,
        "commit": commit,
        "dockerfile": dockerfile,
    }
