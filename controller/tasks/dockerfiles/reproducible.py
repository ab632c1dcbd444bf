"""The same image from the same commit: what Buildah is told of time.

Files of the repository have the commit's time (`git.Repository`), and so have image and history.
What a build writes has it only without the cache: a layer in the cache keeps the time at which it
was made, and where times are set back Buildah takes no layer of a commit of another time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REWRITES = (1, 41)
"""The first Buildah that can set times back."""


def options(request: Mapping[str, Any], commit_time: int, buildah: tuple[int, int]) -> list[str]:
    """Options of `buildah build`; the request's own SOURCE_DATE_EPOCH counts, if it has one."""
    # An argument, because older ones than `_REWRITES` have no such option:
    # https://reproducible-builds.org/specs/source-date-epoch
    name = "SOURCE_DATE_EPOCH"
    told = [] if name in request["build_args"] else ["--build-arg", f"{name}={commit_time}"]
    set_back = request["clear_cache"] and buildah >= _REWRITES
    return [*told, "--rewrite-timestamp"] if set_back else told
