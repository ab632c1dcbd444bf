"""What Buildah's last error says, apart from the Dockerfile's text that it repeats.

Buildah puts the whole step into its error: `building at STEP "RUN …": exit status 1`. What stands
between the quotes is the author's and may read like any error there is, so it is cut off before
anything is concluded; so is what stands in quotes in the rest, which are names and paths.

The patterns are texts seen from Buildah 1.44; the tests feed real output. First match wins, so the
precise ones stand first.
"""

from __future__ import annotations

import re

from controller.tasks.dockerfiles.dockerfile import Dockerfile
from controller.tasks.dockerfiles.instructions import Instruction

DISK = r"[Nn]o space left on device|[Dd]isk quota exceeded"
STORAGE = (
    r"'overlay' is not supported over|kernel does not support overlay|unsupported: using.*overlay"
    r"|creating overlay mount to |mount program|\bmount_program\b|fuse: device not found"
)
NAMESPACE = (
    r"unshare\(CLONE_NEWUSER\)|newuidmap|newgidmap|no subuid ranges|potentially insufficient UIDs"
)
NODE = (
    (DISK, "OutOfDisk"),
    (STORAGE, "StorageUnavailable"),
    (NAMESPACE, "UserNamespaceUnavailable"),
)

UNANNOUNCED = "resolving step {"  # how an error begins that is of the step after the present one
_SOURCES = r"^(?:checking on sources?|checking source) under |^no sources |^no items matching glob "
_TABLE = (
    (r"^resolving step |^parsing main Dockerfile: ", "DockerfileInvalid"),
    (_SOURCES, "CopyFailed"),
    *NODE,
    (
        r"no FROM statement found|Unknown instruction|Syntax error|parse error"
        r"|requires (?:exactly|at least|the arguments) |failed to parse|unknown flag"
        r"|only supports? the |no value specified for |Bad input to "
        r"|isn't allowed|invalid --from flag|unable to resolve argument",
        "DockerfileInvalid",
    ),
    (r"no stage or image found|no such stage|target .*\bnot found", "DockerfileInvalid"),
    (r"secret required but no secret", "SecretNotFound"),
    (r"image not known|manifest unknown|name unknown", "BaseImageNotFound"),
)
# Of an ADD: what another try may mend. Anything else that a server answers is the author's.
_URL = re.compile(r"(?:\t\* )?reading \"https?://")
_AWAY = re.compile(
    r"no such host|server misbehaving|connection (?:refused|reset|timed out)|i/o timeout"
    r"|TLS handshake timeout|Client\.Timeout|deadline exceeded|no route to host|\bEOF\b"
    r"|broken pipe|INTERNAL_ERROR|closed idle connection|response status (?:408|429|5\d\d)"
)
# Where on the node the sources lie helps nobody.
_NO_SOURCE = (
    (
        r"^checking on sources under .*copier: (?:stat|get): (\"[^\"]*\"): no such file.*",
        "{place} has no {0}",
    ),
    (
        r"^checking on sources under .*: globs \[(.*)\] matched nothing.*",
        "{place} has nothing like {0}",
    ),
    (
        r"^no items matching glob \"(?:[^\"]*/merge/)?([^\"]*)\" copied \(\d+ filtered out using "
        r"[^\"]*?([^/\"]+)\).*",
        "{1} leaves out all of {0}",
    ),
)
_NOISE = (
    (r"^parsing main Dockerfile: \S+: ", ""),
    (r"^resolving step \{.* EndLine:\d+\}: ", ""),
    (
        r"(?:creating build container: )?(?:unable to copy from source \S+ )?"
        r"initializing source \S+ ",
        "",
    ),
    (r"pushing image \S+ to \S+ ", ""),
    (r"trying to reuse blob \S+ at destination: ", ""),
    (r"resolving mountpoints for container \"\w*\": ", ""),
    (r" &imagebuilder\.Step\{.*", ""),
)
_PREFIX = re.compile(r"^(?:Error: |time=\"[^\"]*\" level=fatal msg=\"?)")
_AT_STEP = re.compile(r"^building at STEP \"")
_COMMITTING = re.compile(
    r"^committing (?:container for|final squash) step \{.* Original:", re.DOTALL
)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"")
# Buildah repeats a step with other blanks, and without the quotes of flags and of the exec form.
_LOOSE = re.compile(r"[\s\"'\[\],\\]+")
_CUT = re.compile(r" … \[\d+ bytes left out\]\Z")  # see `process`
_TWO = re.compile(r"(ENV|LABEL) must have two arguments")
_NO_VALUE = re.compile(r"can't find = in \"(?P<word>(?:[^\"\\]|\\.)*)\"")


def own_words(error: str, step: str) -> str:
    """The error without its prefix and the step. `step` is that as the Dockerfile has it.

    Empty where the step is so long that nothing else is left of the line.
    """
    text = _PREFIX.sub("", error)
    if match := _AT_STEP.match(text):
        return _after(text[match.end() :], step, '": ')
    if match := _COMMITTING.match(text):
        return _after(text[match.end() :], step, "}: ")
    return text


def ran(error: str) -> bool:
    """Whether the error is no more than the exit code of a command that was run."""
    return bool(re.search(r"\": (?:while running runtime: )?exit status \d+\Z", error))


def reason_of(words: str) -> str | None:
    """The reason that Buildah's own words name, or None."""
    bare = _QUOTED.sub('""', words)
    if _URL.match(words):
        return "DownloadFailed" if _AWAY.search(bare) else "CopyFailed"
    return next((reason for pattern, reason in _TABLE if re.search(pattern, bare)), None)


def plain(words: str, place: str = "the build context") -> str:
    """The words without the wrapping that says nothing; `place` is where sources come from."""
    text = _PREFIX.sub("", words)
    if text != words and words.startswith("time="):  # skopeo's, a message in quotes
        text = text.rstrip('"').replace('\\"', '"')
    for pattern, told in _NO_SOURCE:
        if match := re.match(pattern, text):
            return told.format(*match.groups(), place=place)
    for pattern, replacement in _NOISE:
        text = re.sub(pattern, replacement, text)
    return text


def at_fault(words: str, dockerfile: Dockerfile) -> Instruction | None:
    """The instruction that Buildah could not read, where its words tell: it gives no line."""
    every = [one for stage in dockerfile.stages for one in stage.instructions]
    if words.startswith(UNANNOUNCED):
        return next((one for one in every if f" Original:{one.source} Flags:[" in words), None)
    two, value = _TWO.search(words), _NO_VALUE.search(words)
    for one in every:
        keyword, text = _triggered(one)
        if (two and keyword == two[1] and len(text.split()) == 1) or (
            value and keyword in ("ENV", "LABEL") and value["word"] in text.split()
        ):
            return one
    return None


def _triggered(instruction: Instruction) -> tuple[str, str]:
    """Keyword and text; of an ONBUILD those of what it triggers."""
    if instruction.keyword != "ONBUILD":
        return instruction.keyword, instruction.text
    keyword, _, text = instruction.text.partition(" ")
    return keyword.upper(), text.strip()


def _after(text: str, step: str, end: str) -> str:
    """What follows the step's text and `end`. Goes over the text once: it may be a hostile one."""
    wanted = _LOOSE.sub("", step).lower()
    left, at = len(wanted), 0
    while left and at < len(text):
        left -= not _LOOSE.match(text[at])
        at += 1
    if left or _LOOSE.sub("", text[:at]).lower() != wanted:
        at = 0  # not as we know it: then the first end there is
    found = -1 if _CUT.search(text) else text.find(end, at)
    return text[found + len(end) :] if found >= 0 else ""
