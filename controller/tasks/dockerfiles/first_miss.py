"""Why a build's first step that was not in the cache was not: what changed since the last build.

Each build leaves a small record in its owner's storage, of one Dockerfile, target and platform: the
instructions that it came through, digests of build arguments and of the context's files, the IDs of
its base images. It serves this explanation and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.tasks.context import copy_sources, ignore, source_tree
from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.instructions import Instruction
from controller.tasks.dockerfiles.stages import Stage, stage_number
from controller.tasks.failures.build_progress import BuildProgress, Step
from controller.tasks.node.storage import OwnerStorage, image_ids

_SCHEMA = 1
_RECORDS = 100  # of one owner; the oldest go
_RECORD_BYTES = 1 << 20
_FILES = 5000  # of a context; beyond them none is named
_HASHED_BYTES = 64 << 20  # of a context; what comes after is told by its size


class FirstMiss:
    """The record of the build before this one, and the one that this build leaves."""

    def __init__(
        self,
        storage: OwnerStorage,
        request: Mapping[str, Any],
        parsed: Dockerfile,
        context: Path,
        content: bytes,
        platform: str,
    ) -> None:
        self._parsed = parsed
        self._request = request
        chain = [request["repo_url"], request["dockerfile_path"], request["context_path"]]
        name = hashlib.sha256(json.dumps([*chain, request["target"], platform]).encode())
        self._file = storage.directory / "steps" / f"{name.hexdigest()[:32]}.json"
        self._before = _read(self._file)
        ids = image_ids(storage.directory)
        self._now: dict[str, Any] = {
            "schema": _SCHEMA,
            "stages": [_texts(stage, content) for stage in parsed.stages],
            "arguments": {k: _digest(str(v)) for k, v in request["build_args"].items()},
            "files": _left(
                _files(context),
                source_tree.ignore_text(storage.source, context, request["dockerfile_path"]),
            ),
            "images": {image: ids.get(image, "") for image in parsed.images},
        }

    def explain(self, progress: BuildProgress) -> dict[str, Any]:
        """`first_miss`: its step and line, a reason in one word and in words; empty for none."""
        missed = next(
            (
                step
                for step in progress.steps
                if not step.cached and step.line is not None and not step.text.startswith("FROM")
            ),
            None,
        )
        if missed is None:
            return {}
        reason, words = self._why(missed)
        return {
            "first_miss": {
                "step": missed.text,
                "dockerfile_line": missed.line,
                "reason": reason,
                "message": words,
            }
        }

    def keep(self, progress: BuildProgress, *, failed: bool) -> None:
        """Leave this build's record; steps that it did not come through are left out."""
        stages: list[list[str]] = [[] for _ in self._parsed.stages]
        done = [step for step in progress.steps if step.line is not None]
        for step in done[:-1] if failed else done:
            if place := self._place(step):
                number, at = place
                stages[number] = self._now["stages"][number][: at + 1]
        raw = json.dumps(self._now | {"stages": stages})
        if len(raw) > _RECORD_BYTES:
            raw = json.dumps(self._now | {"stages": stages, "files": {}})
        with contextlib.suppress(OSError):  # an explanation is worth no build
            self._file.parent.mkdir(exist_ok=True, mode=0o711)
            temporary = self._file.with_suffix(f".{os.getpid()}")
            temporary.write_text(raw)
            temporary.replace(self._file)
            records = sorted(self._file.parent.iterdir(), key=lambda one: one.stat().st_mtime)
            for old in records[:-_RECORDS]:
                old.unlink(missing_ok=True)

    def _why(self, step: Step) -> tuple[str, str]:
        if self._request["clear_cache"]:
            return "CacheCleared", "clear_cache was asked for"
        place = self._place(step)
        if not self._before or place is None:
            return "NotBuiltHere", "this node has no record of a build of this Dockerfile"
        number, at = place
        stage = self._parsed.stages[number]
        return (
            self._image(stage, number)
            or self._instruction(number, at)
            or self._argument(stage, at)
            or self._sources(stage.instructions[at], step)
            or ("LayersGone", "nothing changed: its layers are no longer in the cache")
        )

    def _image(self, stage: Stage, number: int) -> tuple[str, str] | None:
        for image in self._images_of(stage, number):
            before = self._before.get("images", {}).get(image)
            if before != self._now["images"].get(image):
                word = "is another one now" if before else "is new"
                return "BaseImageChanged", f"base image {image} {word}"
        return None

    def _images_of(self, stage: Stage, number: int) -> Iterator[str]:
        """Names of the image that a stage stands on, through other stages."""
        base = stage_number(self._parsed.stages[:number], stage.base)
        if base is not None:
            yield from self._images_of(self._parsed.stages[base], base)
        elif stage.base in self._now["images"]:
            yield stage.base

    def _instruction(self, number: int, at: int) -> tuple[str, str] | None:
        before = self._before.get("stages", [])
        known = before[number] if number < len(before) else []
        now = self._now["stages"][number]
        for position in range(at + 1):
            if position >= len(known):
                return "NotBuiltBefore", "no build on this node has come so far"
            if known[position] != now[position]:
                old = known[position].partition("\0")[0][:200]
                return "InstructionChanged", f"it was {old!r} in the last build"
        return None

    def _argument(self, stage: Stage, at: int) -> tuple[str, str] | None:
        """Build arguments that the stage declares before the step, or a FROM may use."""
        before = self._before.get("arguments", {})
        now = self._now["arguments"]
        changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        declared = {
            word.partition("=")[0]
            for one in stage.instructions[: at + 1]
            if one.keyword == "ARG"
            for word in one.text.split()
        }
        for name in sorted(changed & declared):
            return "BuildArgChanged", f"build argument {name} has another value"
        return None

    def _sources(self, instruction: Instruction, step: Step) -> tuple[str, str] | None:
        if instruction.keyword not in ("COPY", "ADD"):
            return None
        source = instruction.flag("from")
        if source is not None:
            return "SourceChanged", f"what it copies from {source} is not what it was"
        before, now = self._before.get("files", {}), self._now["files"]
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        wanted = list(copy_sources.sources(instruction, self._request["build_args"]))
        found = sorted(path for path in changed if any(ignore.found(s, [path]) for s in wanted))
        if not found:
            return None
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        how = "is new" if found[0] not in before else "changed" if found[0] in now else "is gone"
        path = found[0][:300].encode("utf-8", "replace").decode()
        return "FilesChanged", f"{path} {how}{more}"

    def _place(self, step: Step) -> tuple[int, int] | None:
        """Stage and position of a step's instruction, by its line."""
        for number, stage in enumerate(self._parsed.stages):
            for at, one in enumerate(stage.instructions):
                if one.line == step.line:
                    return number, at
        return None


def _texts(stage: Stage, content: bytes) -> list[str]:
    """Every instruction as it is compared, here-documents by their digest."""
    lines = content.split(b"\n")
    following = [one.line for one in stage.instructions[1:]] + [len(lines) + 1]
    return [
        one.source[:1000]
        + (f"\0{_digest_bytes(b''.join(lines[one.line - 1 : end - 1]))}" if one.heredocs else "")
        for one, end in zip(stage.instructions, following, strict=True)
    ]


def _files(context: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    budget = _HASHED_BYTES
    for path in _walk(context):
        if len(found) == _FILES:
            return {}
        try:
            status = path.lstat()
            mark = f"{stat.S_IMODE(status.st_mode):o} {status.st_size}"
            if stat.S_ISLNK(status.st_mode):
                mark += f" {path.readlink()}"
            elif stat.S_ISREG(status.st_mode) and status.st_size <= budget:
                budget -= status.st_size
                mark += f" {_digest_bytes(path.read_bytes())}"
        except OSError:
            continue
        found[path.relative_to(context).as_posix()] = mark
    return found


def _left(files: dict[str, str], rules: str) -> dict[str, str]:
    kept = ignore.filtered(files, rules)
    return {path: mark for path, mark in files.items() if path in kept}


def _walk(context: Path) -> Iterable[Path]:
    for folder, _, names in os.walk(context):
        for name in names:
            yield Path(folder) / name


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            record = json.loads(opened.read(_RECORD_BYTES + 1))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        return {}
    return record


def _digest(text: str) -> str:
    return _digest_bytes(text.encode("utf-8", "surrogatepass"))


def _digest_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
