"""A build that answers for those of other architectures too: all of them as one Build. Pure.

It is over when its own tasks are and the result is certain: one of the builds has failed, or all
have succeeded and one of them has published the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.contract.results import failure
from controller.status.build import Build, Status


@dataclass(frozen=True, slots=True)
class Other:
    """The build of other platforms; None where there is none any more."""

    job_id: str
    platforms: tuple[str, ...]
    build: Build | None

    @property
    def words(self) -> str:
        """The platforms, and which build."""
        return f"{' and '.join(self.platforms)} (build {self.job_id})"


def combine(first: Build, platforms: Sequence[str], others: Sequence[Other]) -> Build:
    """The build that stands for all; `platforms` are those of `first` itself."""
    whole = replace(
        first,
        steps=_all(first, others, "steps"),
        commands=_all(first, others, "commands"),
        platform_jobs=(
            _shown(first.job_id, platforms, first),
            *(_shown(one.job_id, one.platforms, one.build) for one in others),
        ),
    )
    bad = _worst(others)
    if not first.status.final:
        said = f"{bad.words} has not succeeded" if bad else ""
        return replace(whole, message="; ".join(filter(None, (said, first.message))))
    for one in _builds(first, others):
        if one.status is Status.SUCCEEDED and one.references:
            return _published(whole, one, others)
    if first.status is Status.FAILED or (first.status is Status.CANCELLED and not _failure(bad)):
        return whole
    unpublished = replace(whole, digest=None, references=(), tags=(), referrers=())
    if bad is not None:
        return _failed(unpublished, bad)
    waiting = [one for one in others if one.build and not one.build.status.final]
    if waiting:
        words = [_waiting(one) for one in waiting]
        return replace(
            unpublished,
            status=Status.PUBLISHING,
            finished_at=None,
            message=f"{' and '.join(platforms)} is pushed; waits for {'; '.join(words)}",
        )
    return _not_joined(unpublished, others)


def _not_joined(unpublished: Build, others: Sequence[Other]) -> Build:
    """All have succeeded, and none has published."""
    builds = _builds(unpublished, others)
    commits = {one.commit for one in builds}
    if len(commits) > 1:
        told = " and ".join(sorted(str(commit)[:12] for commit in commits))
        failed = failure(
            "publish",
            "CommitsDiffer",
            f"the branch moved while its architectures were built: commits {told}",
        )
    else:
        failed = failure(
            "publish",
            "PublishFailed",
            "the images of all platforms are pushed, but none of the builds found all of them",
            hint=f"rerunPhase with phase publish and job_id {others[0].job_id}: that build "
            "publishes the list, and says so itself",
        )
    finished = _last_end(builds)
    return replace(unpublished, status=Status.FAILED, failure=failed, finished_at=finished)


def _published(whole: Build, published: Build, others: Sequence[Other]) -> Build:
    """One has published: each was ready then, whatever became of it afterwards."""
    builds = _builds(whole, others)
    return replace(
        whole,
        status=Status.SUCCEEDED,
        failure=None,
        digest=published.digest,
        image=published.image,
        references=published.references,
        tags=published.tags,
        referrers=tuple(one for build in builds for one in build.referrers),
        finished_at=_last_end(builds),
    )


def _failed(unpublished: Build, bad: Other) -> Build:
    finished = _last_end([one for one in (unpublished, bad.build) if one])
    if bad.build is not None and bad.build.status is Status.CANCELLED:
        return replace(
            unpublished,
            status=Status.CANCELLED,
            message=f"{bad.words} was stopped",
            finished_at=finished,
        )
    found: dict[str, Any] = (
        dict(bad.build.failure)
        if bad.build and bad.build.failure
        else failure("publish", "InternalError", "it was removed before its end was read")
    )
    found |= {"message": f"{bad.words}: {found['message']}", "job_id": bad.job_id}
    return replace(unpublished, status=Status.FAILED, failure=found, finished_at=finished)


def _worst(others: Sequence[Other]) -> Other | None:
    """One that failed, else one that is gone or was stopped: others are stopped for it."""
    bad = [
        one
        for one in others
        if one.build is None or one.build.status in (Status.FAILED, Status.CANCELLED)
    ]
    return max(bad, key=_failure, default=None)


def _failure(one: Other | None) -> bool:
    return bool(one and one.build and one.build.status is Status.FAILED)


def _builds(first: Build, others: Sequence[Other]) -> list[Build]:
    return [first, *(one.build for one in others if one.build)]


def _last_end(builds: Sequence[Build]) -> str | None:
    return max((one.finished_at for one in builds if one.finished_at), default=None)


def _waiting(one: Other) -> str:
    build = one.build
    status = f"{build.status}{f', {build.message}' if build.message else ''}" if build else ""
    return f"{one.words}: {status}"


def _all(first: Build, others: Sequence[Other], name: str) -> tuple[dict[str, Any], ...]:
    return tuple(record for build in _builds(first, others) for record in getattr(build, name))


def _shown(job_id: str, platforms: Sequence[str], build: Build | None) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "platforms": list(platforms),
        "status": str(build.status) if build else "FAILED",
    }
