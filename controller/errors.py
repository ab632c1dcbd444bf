"""Every error that callers of the service may see, below one root.

Each has an HTTP status and a stable `name`; the message names the field, the value or the
dependency, and `details` says what to do next. Adapters turn their library's errors into these.
"""

from __future__ import annotations

from collections.abc import Sequence

from controller.contract.json_schema import Problem


class ServiceError(Exception):
    """An error with an HTTP status, a message for people, and the next step in `details`."""

    status = 500
    name = "internal_error"
    retry_after = 0  # seconds after which the same request may do better; 0: it will not

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.problems: list[Problem] = []


class MalformedRequestError(ServiceError):
    """The body or a parameter cannot be read at all."""

    status = 400
    name = "malformed_request"


class InvalidFieldsError(ServiceError):
    """The request was read, and fields of it are wrong: all of them are in `problems`."""

    status = 422
    name = "invalid_fields"

    def __init__(self, problems: Sequence[Problem]) -> None:
        fields = ", ".join(problem.field for problem in problems)
        super().__init__(
            f"the request has {len(problems)} problem(s): {fields}",
            "; ".join(str(problem) for problem in problems),
        )
        self.problems = list(problems)


class UnknownBuildError(ServiceError):
    """There is no such build, neither in Nomad nor in the history."""

    status = 404
    name = "unknown_job"

    @classmethod
    def of(cls, job_id: str) -> UnknownBuildError:
        """The error for a build that Nomad and the history do not know, or may not show."""
        return cls(
            f"there is no build {job_id}",
            "Nomad does not know it and the history has no record of it",
        )


class IdempotencyConflictError(ServiceError):
    """The idempotency key was used before, for another request."""

    status = 409
    name = "idempotency_conflict"


class NotPublishedError(ServiceError):
    """The build has no published image."""

    status = 409
    name = "not_published"

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(
            f"build {job_id} is {status}: it has published no image",
            "wait for it to succeed, or give image and digest",
        )


class NotRepeatableError(ServiceError):
    """The build has not what a rerun of its phase needs."""

    status = 409
    name = "not_repeatable"


class TooManyBuildsError(ServiceError):
    """As many builds are queued or running as the operator allows."""

    status = 429
    name = "too_many_builds"
    retry_after = 15


class TooManyTicketsError(ServiceError):
    """The caller has asked for more tickets of log streams than anybody needs."""

    status = 429
    name = "too_many_tickets"
    retry_after = 60


class TooManyChecksError(ServiceError):
    """As many checks run as may at once."""

    status = 429
    name = "too_many_checks"
    retry_after = 5


class RequestTooLargeError(ServiceError):
    """The body is larger than the service reads, or the request than Nomad carries."""

    status = 413
    name = "request_too_large"


class MisdirectedError(ServiceError):
    """The request names a host that this service does not answer for (DNS rebinding)."""

    status = 421
    name = "misdirected_request"


class UnauthenticatedError(ServiceError):
    """The request has no credential, or one that is not valid (any more)."""

    status = 401
    name = "unauthenticated"


class InvalidTicketError(UnauthenticatedError):
    """The ticket of a log stream is unknown, used, expired, or of another build."""

    name = "invalid_ticket"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, "get a new one with POST /mcp/streamTicket: each opens one stream, once"
        )


class ForbiddenError(ServiceError):
    """The caller's credential lacks the scope that the operation needs."""

    status = 403
    name = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"your credential lacks the scope {scope}", f"get one with the scope {scope}"
        )
        self.scope = scope


class ForeignOriginError(ServiceError):
    """A web page of another origin sent the request."""

    status = 403
    name = "foreign_origin"


class UnavailableError(ServiceError):
    """Something that the service needs is down. `dependency` names it."""

    status = 503
    name = "unavailable"
    retry_after = 5

    def __init__(self, dependency: str, message: str, details: str = "") -> None:
        super().__init__(f"{dependency}: {message}", details or f"check {dependency}, then retry")
        self.dependency = dependency


class ParentMissingError(UnavailableError):
    """The parameterized job of a build class is not registered (yet), or is stopped."""

    def __init__(self, parent: str, namespace: str) -> None:
        super().__init__(
            "nomad",
            f"job {parent!r} is not registered in namespace {namespace!r}",
            "the pack registers it: wait until `nomad-pack run` has ended, or run it again",
        )


class RefusedError(ServiceError):
    """A dependency refuses this service: its token or policy lacks a right."""

    status = 502
    name = "refused_by_dependency"


class NotFoundError(ServiceError):
    """An adapter's answer for what does not exist; services turn it into their own words."""

    status = 404
    name = "not_found"
