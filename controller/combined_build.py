"""A build that answers for those of other architectures too: all of them as one Build. Pure.

It is over when its own tasks are and the result is certain: one of the builds has failed, or all
have succeeded and one of them has published the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.build import Build, Status
from controller.contract.results import failure


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
    bad = next((one for one in others if _unsuccessful(one)), None)
    if not first.status.final:
        said = f"{bad.words} has not succeeded" if bad else ""
        return replace(whole, message="; ".join(filter(None, (said, first.message))))
    if first.status is not Status.SUCCEEDED:
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
    return _ended(whole, unpublished, others)


def _ended(whole: Build, unpublished: Build, others: Sequence[Other]) -> Build:
    """All have succeeded: the one that was last has published."""
    builds = [whole, *(one.build for one in others if one.build)]
    finished = max((one.finished_at for one in builds if one.finished_at), default=None)
    published = next((one for one in builds if one.references), None)
    if published is None:
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
                hint=f"rerunPhase with phase publish and job_id {others[0].job_id}",
            )
        return replace(unpublished, status=Status.FAILED, failure=failed, finished_at=finished)
    return replace(
        whole,
        digest=published.digest,
        image=published.image,
        references=published.references,
        tags=published.tags,
        referrers=tuple(one for build in builds for one in build.referrers),
        finished_at=finished,
    )


def _failed(unpublished: Build, bad: Other) -> Build:
    ended = [unpublished.finished_at, bad.build.finished_at if bad.build else None]
    finished = max(filter(None, ended), default=None)
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


def _unsuccessful(one: Other) -> bool:
    return one.build is None or one.build.status in (Status.FAILED, Status.CANCELLED)


def _waiting(one: Other) -> str:
    build = one.build
    status = f"{build.status}{f', {build.message}' if build.message else ''}" if build else ""
    return f"{one.words}: {status}"


def _all(first: Build, others: Sequence[Other], name: str) -> tuple[dict[str, Any], ...]:
    builds = (first, *(one.build for one in others if one.build))
    return tuple(record for build in builds for record in getattr(build, name))


def _shown(job_id: str, platforms: Sequence[str], build: Build | None) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "platforms": list(platforms),
        "status": str(build.status) if build else "FAILED",
    }
