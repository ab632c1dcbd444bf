"""An image of several platforms from several builds, one for each architecture.

Each build makes, tests and pushes the images of its own platforms and leaves a note of each in the
registry. Whichever then finds those of all platforms puts the index (manifest list) together and
publishes it under the request's tags: the last one does. Should two find all at the same moment,
they put the same bytes. So no build waits for another, and none needs a controller.

The field is written by the controller, or by whoever dispatches each of the builds by hand:

    id         16 to 64 of a-z and 0-9 that nobody can guess, not used before
    platforms  those of the request's `platforms` that this build makes
    others     [{"job_id", "platforms"}]: the builds of the other platforms. Only one of the builds
               has it, the one that answers for all of them; by hand it can be left out.
    part       true: another build answers for this one

Whoever may push to the repository could leave notes too. So where a note lies and its seal follow
from the id, which is in the payloads of these builds and nowhere else.

`normalise` refuses it: no caller of submitJob can name somebody else's builds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from controller.contract import job_id, platform_names
from controller.contract.field_error import FieldError
from controller.contract.json_schema import Problem

FIELD = "image_index"
_ID = re.compile(r"[a-z0-9]{16,64}\Z")
_FIX = "leave it out, or write it as the README says of builds of several architectures"


def take(document: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Take the field out of a payload; it, and what is wrong with it."""
    given = document.pop(FIELD, None)
    if given is None:
        return None, []
    if isinstance(given, Mapping):
        given = {**given, "platforms": _normal(given.get("platforms"))}
    problems = _problems(given, _normal(document.get("platforms")))
    return (None if problems else dict(given)), problems


def own(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request of one build: its own platforms, and those of the index as `of` in the field."""
    if not (index := request.get(FIELD)):
        return dict(request)
    whole = {**index, "of": list(request["platforms"])}
    return {**request, "platforms": list(index["platforms"]), FIELD: whole}


def without(request: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, whoever makes which part of it."""
    return {name: value for name, value in request.items() if name != FIELD}


def others(request: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """The builds that a build answers for beside itself."""
    found: Sequence[Mapping[str, Any]] = ((request or {}).get(FIELD) or {}).get("others") or ()
    return found


def is_part(request: Mapping[str, Any] | None) -> bool:
    """Whether another build answers for one of this request."""
    return bool(((request or {}).get(FIELD) or {}).get("part"))


def tag(index: Mapping[str, Any], commit: str, platform: str) -> str:
    """Where the note of a platform's image lies. Of another commit, it is never found."""
    return f"nbs-{_mac(index, 'tag', commit, platform)[:32]}-{platform.replace('/', '-')}"


def seal(index: Mapping[str, Any], commit: str, platform: str, digest: str) -> str:
    """What shows that a note of this image is by a build of this index."""
    return _mac(index, "image", commit, platform, digest)


def _mac(index: Mapping[str, Any], *parts: str) -> str:
    return hmac.new(index["id"].encode(), "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def _problems(given: object, platforms: object) -> list[Problem]:
    if not isinstance(given, Mapping):
        return [Problem(FIELD, "is not a JSON object", _FIX)]
    wanted = set(platforms) if _are_names(platforms) else set()
    builds = given.get("others")
    checks = {
        "part": isinstance(given.get("part", False), bool),
        "id": isinstance(given.get("id"), str) and bool(_ID.match(given["id"])),
        "platforms": _are_names(given.get("platforms"))
        and set(given["platforms"]) <= wanted
        and len(set(given["platforms"])) == len(given["platforms"]),
        "others": builds is None
        or (
            isinstance(builds, list)
            and len(builds) < len(wanted)
            and all(_is_build(one, wanted) for one in builds)
        ),
    }
    return [
        Problem(f"{FIELD}.{name}", "is missing or malformed", _FIX)
        for name, well in checks.items()
        if not well
    ]


def _is_build(value: object, wanted: set[str]) -> bool:
    if not (isinstance(value, Mapping) and _are_names(value.get("platforms"))):
        return False
    try:
        job_id.parse(value["job_id"] if isinstance(value.get("job_id"), str) else "")
    except ValueError:
        return False
    return set(value["platforms"]) <= wanted


def _normal(value: object) -> object:
    """Names of platforms as the request has them once it is read; others as they are."""
    try:
        return list(map(platform_names.parse, value)) if _are_names(value) else value
    except FieldError:
        return value


def _are_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
