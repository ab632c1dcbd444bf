"""One thing that callers can do: its name, its documents, its words, and the call itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from controller.access.callers import ADMIN, Caller
from controller.contract.json_schema import Problem, validate
from controller.errors import (
    ForbiddenError,
    InvalidFieldsError,
    MalformedRequestError,
    ServiceError,
    UnknownBuildError,
)
from controller.job_config import schema_of
from controller.service import Service

Document = dict[str, Any]
Accepted = TypeVar("Accepted", bound=BaseModel)


class Progress(Protocol):
    """Tells whoever waits for an answer how far it is."""

    async def __call__(self, done: float, total: float | None, message: str) -> None:
        """`done` of `total` (None where nobody knows) units, and where it is in words."""


async def silent(done: float, total: float | None, message: str) -> None:
    """Progress that nobody asked for."""


# Names of fields that the seed has on the highest level; the contract folds them into `test`.
SEED_NAMES = {"test_commands": "commands", "test_timeout": "timeout"}


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls, and how to tell them how far the answer is."""

    caller: Caller
    progress: Progress = silent


Call = Callable[[Service, Any, Context], Awaitable[Document]]
Facts = Callable[[Any, Document], Mapping[str, object]]


def nothing_more(given: Any, answer: Document) -> Mapping[str, object]:
    """What the audit tells of a call beside what it tells of every call."""
    return {}


@dataclass(frozen=True, slots=True)
class Effects:
    """What a call may do, in the words of MCP's tool annotations."""

    read_only: bool
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False


@dataclass(frozen=True)
class Operation:
    """One operation.

    `name` is its path (`POST /mcp/NAME`) and its tool's name. `description` says when to use it,
    when not, and what comes next. `accepts` and `answers` are the models of its documents; `scope`
    is what a caller must be allowed; `refusals` are its errors beside those that any call may
    end with. `tool_defaults` replace defaults where an agent's context is the reader. `changes`
    says of a request whether it changes anything, `facts` what else the audit should tell.
    """

    name: str
    title: str
    description: str
    accepts: type[BaseModel]
    answers: type[BaseModel]
    call: Call
    effects: Effects
    scope: str
    refusals: tuple[type[ServiceError], ...] = ()
    tool_defaults: Mapping[str, Any] = field(default_factory=dict)
    takes_job_config: bool = False
    changes: Callable[[Any], bool] | None = None
    facts: Facts = nothing_more

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of what it accepts."""
        schema = schema_of(self.accepts)
        if self.takes_job_config:
            # A caller with a credential has its owner; of others, the call itself asks for one.
            schema["required"] = [name for name in schema["required"] if name != "owner"]
            schema["properties"] |= {
                old: {**part, "description": f"The seed's name for test.{new}."}
                for old, new in SEED_NAMES.items()
                if (part := schema["properties"]["test"]["properties"][new])
            }
        return schema

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        """The JSON Schema of what it answers."""
        return schema_of(self.answers, nulls=True)

    def read(self, given: Any) -> Any:
        """What `call` takes: the document in its normal form, as the model.

        Raises InvalidFieldsError with every problem, MalformedRequestError.
        """
        if not isinstance(given, dict):
            raise MalformedRequestError(
                "the request is not a JSON object", 'send an object, such as {"job_id": "…"}'
            )
        if self.takes_job_config:  # it has a validation of its own, shared with the runner
            return given
        return checked(self.accepts, given, self.input_schema)

    async def run(
        self, service: Service, given: Any, caller: Caller, progress: Progress = silent
    ) -> Document:
        """Do it; the answer as a JSON document. Raises ServiceError."""
        changes = not self.effects.read_only
        with service.audit.deciding(self.name, caller, changes=changes) as noted:
            noted |= named_in(given, caller)
            await admit(service, caller, self.scope)
            accepted = self.read(self._owned(given, caller))
            if self.changes is not None:
                noted["changes"] = self.changes(accepted)
            await admit(service, caller, self.scope, getattr(accepted, "job_id", None))
            answer = await self.call(service, accepted, Context(caller, progress))
            noted |= self.facts(accepted, answer)
            return answer

    def _owned(self, given: Any, caller: Caller) -> Any:
        """The request with the caller's owner, where it has an owner at all."""
        if caller.owner is None or caller.may(ADMIN) or not isinstance(given, dict):
            return given
        if self.takes_job_config and isinstance(given.get("job_config"), dict):
            return given | {"job_config": self._owned(given["job_config"], caller)}
        if "owner" not in self.input_schema["properties"]:
            return given
        if given.get("owner") not in (None, caller.owner):
            raise InvalidFieldsError(
                [
                    Problem(
                        "owner",
                        f"your credential is of owner {caller.owner!r}",
                        "leave owner out, or present a credential of that owner",
                    )
                ]
            )
        # Of one build, `admit` looks whose it is.
        return given if given.get("job_id") else given | {"owner": caller.owner}


def checked(
    model: type[Accepted], given: dict[str, Any], schema: dict[str, Any] | None = None
) -> Accepted:
    """A request as its model. Raises InvalidFieldsError with every problem."""
    document = {name: value for name, value in given.items() if value is not None}
    normal, problems = validate(schema or schema_of(model), document, {})
    if problems:
        raise InvalidFieldsError([_named(problem) for problem in problems])
    return model.model_construct(**normal)


async def admit(service: Service, caller: Caller, scope: str, job_id: str | None = None) -> None:
    """Check that a caller has a scope, and a build within reach.

    Builds of other owners do not exist, as far as a caller can tell. Raises ForbiddenError,
    UnknownBuildError.
    """
    if not caller.may(scope):
        raise ForbiddenError(scope)
    if job_id and not caller.may_touch(None):
        build = await service.builds.get(job_id)
        if not caller.may_touch((build.config or {}).get("owner")):
            raise UnknownBuildError.of(build.job_id)


def named_in(given: Any, caller: Caller) -> Mapping[str, object]:
    """What a request names, for the audit, whether or not it is valid."""
    if not isinstance(given, dict):
        return {}
    if isinstance(given.get("job_config"), dict):
        given = given["job_config"]
    found = {"job_id": given.get("job_id")}
    # An owner who comes from the credential stays; what the request says stands beside it.
    name = "owner" if caller.owner is None or caller.may(ADMIN) else "asked_owner"
    if given.get("owner") not in (None, caller.owner):
        found[name] = given["owner"]
    return found


def _named(problem: Problem) -> Problem:
    return Problem("request", problem.problem, problem.fix) if not problem.field else problem
