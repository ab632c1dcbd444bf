"""One thing that callers can do: its name, its documents, its words, and the call itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pydantic import BaseModel

from controller.contract.json_schema import Problem, validate
from controller.errors import InvalidFieldsError, MalformedRequestError, ServiceError
from controller.job_config import schema_of
from controller.service import Service

Document = dict[str, Any]


class Progress(Protocol):
    """Tells whoever waits for an answer how far it is."""

    async def __call__(self, done: float, total: float | None, message: str) -> None:
        """`done` of `total` (None where nobody knows) units, and where it is in words."""


async def silent(done: float, total: float | None, message: str) -> None:
    """Progress that nobody asked for."""


# Names of fields that the seed has on the highest level; the contract folds them into `test`.
SEED_NAMES = {"test_commands": "commands", "test_timeout": "timeout"}
Call = Callable[[Service, Any, Progress], Awaitable[Document]]


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
    end with. `tool_defaults` replace defaults where an agent's context is the reader.
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

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of what it accepts."""
        schema = schema_of(self.accepts)
        if self.takes_job_config:
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
        document = {name: value for name, value in given.items() if value is not None}
        normal, problems = validate(self.input_schema, document, {})
        if problems:
            raise InvalidFieldsError([_named(problem) for problem in problems])
        return self.accepts.model_construct(**normal)

    async def run(self, service: Service, given: Any, progress: Progress = silent) -> Document:
        """Do it; the answer as a JSON document. Raises ServiceError."""
        return await self.call(service, self.read(given), progress)


def _named(problem: Problem) -> Problem:
    return Problem("request", problem.problem, problem.fix) if not problem.field else problem
