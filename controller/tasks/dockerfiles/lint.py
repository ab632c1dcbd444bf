"""What is wrong with a Dockerfile before anything of it runs. Pure, but for the list of files.

Errors are what would end the build, warnings what a careful author would change. Where something
cannot be decided (variables in a path, files that come from a stage) nothing is said.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.tasks.context import copy_sources, ignore
from controller.tasks.context.copy_sources import Context
from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.stages import Stage, StageNames, target_number

KEYWORDS = (
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
_OF_A_PLATFORM = ("PLATFORM", "OS", "ARCH", "VARIANT")
# Arguments that need no declaration: https://docs.docker.com/reference/dockerfile/#predefined-args
_PREDEFINED = {
    *(f"{name}_proxy" for name in ("http", "https", "ftp", "no", "all")),
    *(f"{name}_PROXY" for name in ("HTTP", "HTTPS", "FTP", "NO", "ALL")),
    *(f"{side}{name}" for side in ("BUILD", "TARGET") for name in _OF_A_PLATFORM),
    "SOURCE_DATE_EPOCH",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend: `error` or `warning`, the Dockerfile's line (0: the whole), and how."""

    severity: str
    line: int
    message: str
    fix: str


def lint(
    parsed: Dockerfile,
    request: Mapping[str, Any],
    files: Collection[str],
    ignored: str = "",
    links: Collection[str] = (),
) -> list[Finding]:
    """Everything to say. `files` are paths in the context, `ignored` the text of .dockerignore.

    `links` are those of the files that are symbolic links.
    """
    return [
        *_keywords(parsed),
        *_target(parsed, request.get("target")),
        *_arguments(parsed, request.get("build_args") or {}),
        *_sources(parsed, Context(files, ignore.filtered(files, ignored), links)),
        *_stages(parsed),
        *_images(parsed),
        *_shell(parsed, request),
    ]


def _keywords(parsed: Dockerfile) -> Iterator[Finding]:
    for stage in parsed.stages:
        for one in stage.instructions:
            if one.keyword not in KEYWORDS:
                near = difflib.get_close_matches(one.keyword, KEYWORDS, n=1, cutoff=0.5)
                yield Finding(
                    "error",
                    one.line,
                    f"line {one.line}: {one.keyword[:40]!r} is not an instruction",
                    f"did you mean {near[0]}?"
                    if near
                    else "end the line before with a backslash if this one continues it",
                )


def _target(parsed: Dockerfile, target: str | None) -> Iterator[Finding]:
    names = [stage.name for stage in parsed.stages if stage.name]
    if target_number(parsed.stages, target) is not None:
        return
    known = f"stages: {', '.join(names)}" if names else "the Dockerfile names no stage"
    yield Finding("error", 0, f"target {target!r} is no stage of the Dockerfile", known)


def _arguments(parsed: Dockerfile, given: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(given.keys() - parsed.arguments - _PREDEFINED):
        yield Finding(
            "warning",
            0,
            f"build_args has {name}, which no ARG of the Dockerfile declares",
            f"write ARG {name} in the stage that uses it, or leave it out",
        )


def _sources(parsed: Dockerfile, context: Context) -> Iterator[Finding]:
    for stage in parsed.stages:
        for one in stage.instructions:
            for problem, fix in copy_sources.problems(one, context):
                yield Finding("error", one.line, f"line {one.line}: {problem}", fix)


def _stages(parsed: Dockerfile) -> Iterator[Finding]:
    """A --from that is no stage is an image; where it does not look like one, it is a slip."""
    names, folded = StageNames(), dict[str, str]()
    for stage in parsed.stages:
        for one in stage.instructions:
            source = one.flag("from") if one.keyword in ("COPY", "ADD") else None
            if not source or set(source) & set("/:@$") or names.number(source) is not None:
                continue
            near = difflib.get_close_matches(source.lower(), folded, n=1, cutoff=0.5)
            yield Finding(
                "warning",
                one.line,
                f"line {one.line}: no stage is named {source!r}, so it is taken for an image",
                f"did you mean {folded[near[0]]}?"
                if near
                else "name a stage, or the image with its tag",
            )
        names.add(stage.name)
        if stage.name:
            folded[stage.name.lower()] = stage.name


def _images(parsed: Dockerfile) -> Iterator[Finding]:
    bases = {stage.base for stage in parsed.stages}
    named = {
        source
        for stage in parsed.stages
        for one in stage.instructions
        if (source := one.flag("from")) and not set(source) & set("/:@$")
    }
    for image, line in parsed.images.items():
        name = image.rpartition("/")[2]
        if image in named and image not in bases:
            continue  # `_stages` has its word about it
        if "@" not in name and (":" not in name or name.endswith(":latest")):
            yield Finding(
                "warning",
                line,
                f"base image {image} has no fixed tag: it changes without notice",
                "name a version or a digest",
            )


def _shell(parsed: Dockerfile, request: Mapping[str, Any]) -> Iterator[Finding]:
    commands = (request.get("test") or {}).get("commands") or []
    if any(isinstance(command, str) for command in commands) and _final(parsed, request).base == (
        "scratch"
    ):
        yield Finding(
            "warning",
            0,
            "test commands given as strings need /bin/sh, and the image begins with nothing",
            'write them as lists of words, such as ["/app", "--version"]',
        )


def _final(parsed: Dockerfile, request: Mapping[str, Any]) -> Stage:
    number = target_number(parsed.stages, request.get("target"))
    return parsed.stages[-1 if number is None else number]
