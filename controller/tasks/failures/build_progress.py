"""Follow Buildah's output: which step runs, which came from the cache, what the last error was.

Buildah prints `STEP 2/5: RUN …`, with a stage prefix `[1/2] ` where there are several, but no line
numbers: those come from our own reading of the Dockerfile.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.instructions import Instruction
from controller.tasks.dockerfiles.stages import stage_number
from controller.tasks.failures.error_excerpt import ErrorExcerpt
from controller.tasks.isolation import sealing

_STEP = re.compile(
    r"(?:\[(?P<stage>\d{1,6})/(?P<stages>\d{1,6})\] )?STEP (?P<step>\d{1,6})/(?P<of>\d{1,6}): "
    r"(?P<text>.*)"
)
_CACHED = re.compile(r"--> (?:Using cache|Cache pulled from remote)\b")
# What a RUN step prints may look like a step or an error: only so many of each are believed.
_STEPS, _ERRORS = 2000, 50
_OUTPUT, _LONGEST = 40, 1000  # lines of the present step, and characters of each
_ENDED_ON = "subprocess exited on "  # Buildah's words for a signal, in Go's; its code is 1 then
_BUILDAH = ("Error: building at STEP", "subprocess exited", "--> ", "COMMIT")
_SPACE = re.compile(r"\s+")
_CUT = re.compile(r" … \[\d+ bytes left out\]\Z")  # see `process`


@dataclass(slots=True)
class Step:
    """One step as Buildah counts it (FROM is 1), and the Dockerfile line it stands on."""

    stage: int
    step: int
    of: int
    text: str
    line: int | None
    cached: bool = False
    platform: str = ""


class BuildProgress:
    """Fed with every line of Buildah's output; holds the steps so far.

    `instruction` is the present step's, None where the Dockerfile has none for it; `source` is its
    whole text. Like `errors`, it may hold secrets. `not_started` is true while Buildah failed to
    start the present step's command at all. Steps on the lines `done` are no hits: another pass of
    this build made them.
    """

    def __init__(
        self, dockerfile: Dockerfile, platform: str = "", done: Collection[int] = ()
    ) -> None:
        self.dockerfile = dockerfile
        self._platform = platform
        self._done = done
        self.steps: list[Step] = []
        self.instruction: Instruction | None = None
        self.source = ""
        self.errors: deque[str] = deque(maxlen=_ERRORS)
        self.excerpt = ErrorExcerpt()
        self.ended_on = ""
        self.output: deque[str] = deque(maxlen=_OUTPUT)
        self._used: set[int | None] = set()
        self.not_started = False

    def feed(self, stream: str, text: str, shown: str | None = None) -> None:
        """Take in one line of `stdout` or `stderr`; `shown` is what may be shown of it, if less."""
        shown = text if shown is None else shown
        match = _STEP.match(text)
        if match and len(self.steps) < _STEPS:
            self._begin(match, shown)
        elif _CACHED.match(text) and self.steps:
            self.steps[-1].cached = self.steps[-1].line not in self._done
        elif stream == "stderr" and sealing.refused(text):
            self.not_started = True
        elif stream == "stderr" and text.startswith(("Error:", "error ", "Build error:")):
            self.errors.append(text)
            self._say(shown)
        elif stream == "stderr" and text.startswith(_ENDED_ON):
            self.ended_on = text.removeprefix(_ENDED_ON)
        else:
            self._say(shown)

    def _begin(self, match: re.Match[str], shown: str) -> None:
        stage, number, of = int(match["stage"] or 1), int(match["step"]), int(match["of"])
        text = _with_keyword(match["text"])
        self.instruction = self._find(stage, number, _CUT.sub("", text))
        line = self.instruction.line if self.instruction else None
        self._used.add(line)
        if line is None and self._triggered(stage, number, of, text):
            line = self.dockerfile.stages[stage - 1].instructions[0].line
        self.source = self.instruction.source if self.instruction else text
        self.not_started = False
        self.excerpt = ErrorExcerpt()
        self.errors.clear()
        self.output.clear()
        self.ended_on = ""
        may_be_shown = _STEP.match(shown)
        words = _with_keyword(may_be_shown["text"] if may_be_shown else shown)
        self.steps.append(Step(stage, number, of, words[:1000], line, platform=self._platform))

    def _say(self, text: str) -> None:
        if not text.startswith(_BUILDAH):
            self.output.append(text[:_LONGEST])
            self.excerpt.feed(text)

    @property
    def lines(self) -> list[int]:
        """The first line of every instruction of the Dockerfile."""
        return [one.line for stage in self.dockerfile.stages for one in stage.instructions]

    @property
    def current(self) -> Step | None:
        """The step that began last."""
        return self.steps[-1] if self.steps else None

    @property
    def position(self) -> str:
        """Words for where the build is, for example `in step 4/9`."""
        step = self.current
        if step is None:
            return "before the first step"
        stages = f" of stage {step.stage}" if len(self.dockerfile.stages) > 1 else ""
        platform = f" for {self._platform}" if self._platform else ""
        return f"in step {step.step}/{step.of}{stages}{platform}"

    def fields(self) -> dict[str, Any]:
        """What the phase's result says about steps and cache."""
        return together([self])

    def platforms(self, built_for: str) -> set[str]:
        """The platforms that the present stage may be of, in a build for one."""
        stages = self.dockerfile.stages
        number: int | None = (self.current.stage if self.current else len(stages)) - 1
        base = ""
        while number is not None and number < len(stages):
            base = stages[number].base
            number = stage_number(stages[:number], base)
        found = {need.platform for need in self.dockerfile.needs if need.image == base}
        return found or {built_for}

    def _triggered(self, stage: int, step: int, of: int, text: str) -> bool:
        """Whether a step that the Dockerfile lacks is an ONBUILD trigger of the base image.

        They come right after FROM. The labels of the request come last.
        """
        if stage > len(self.dockerfile.stages) or (step == of and text.startswith('LABEL "')):
            return False
        own = {one.line for one in self.dockerfile.stages[stage - 1].instructions[1:]}
        return not any(one.stage == stage and one.line in own for one in self.steps)

    def _find(self, stage: int, step: int, wanted: str) -> Instruction | None:
        """A step's instruction: by stage and position where the words agree, else by the words."""
        stages = self.dockerfile.stages
        if stage <= len(stages) and step <= len(stages[stage - 1].instructions):
            instruction = stages[stage - 1].instructions[step - 1]
            if _same(instruction, wanted):
                return instruction
        for instruction in (i for s in stages for i in s.instructions):
            if instruction.line not in self._used and _same(instruction, wanted):
                return instruction
        return None


def together(builds: Sequence[BuildProgress]) -> dict[str, Any]:
    """What the phase's result says about steps and cache of a build for each platform."""
    steps = [step for build in builds for step in build.steps]
    counted = [step for step in steps if not step.text.startswith("FROM")]
    hits = sum(step.cached for step in counted)
    return {
        "steps": [_shown(step) for step in steps[:500]],
        "cache": {"hits": hits, "misses": len(counted) - hits},
    }


def _shown(step: Step) -> dict[str, Any]:
    return {name: value for name, value in asdict(step).items() if value != "" or name == "text"}


def _same(instruction: Instruction, wanted: str) -> bool:
    mine = _words(instruction.source)
    # A here-document follows on its own lines; Buildah prints the first line of the instruction.
    return (
        mine == wanted
        or (bool(wanted) and mine.startswith(wanted))
        or (instruction.heredocs and wanted.startswith(f"{mine} ("))  # the first lines of it
        or (instruction.keyword == "FROM" and wanted.startswith("FROM "))
    )


def _with_keyword(text: str) -> str:
    """A step's words, the keyword in capitals: Buildah prints it as the author wrote it."""
    keyword, blank, rest = _words(text).partition(" ")
    return f"{keyword.upper()}{blank}{rest}"


def _words(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
