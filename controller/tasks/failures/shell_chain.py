"""Which command of a RUN step failed, where the output tells.

A RUN step is often many commands joined by `&&` or `;`, and its exit code is that of one of them.
The text is cut into simple commands, conservatively, and the output is asked which it was:

1. A shell that was told to trace (`set -x`) prints each command before it runs it: the last one
   failed.
2. A shell that cannot start a program names it: `sh: foo: not found`.
3. Most programs begin their complaints with their own name: `cat: /x: No such file or directory`.

Where that gives no answer, or more than one, there is none: a guess would lead somebody astray.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

_LONGEST = 32_768  # characters of a step that are looked at
_NOT_STARTED = re.compile(
    r"(?:/bin/)?(?:[\w.-]*sh)?(?:: line)?(?::? ?\d+)?: ?(?P<program>[\w./+-]+): "
    r"(?:command not found|not found|Permission denied|cannot execute)"
)
_TRACES = re.compile(r"\bset -\w*x|\bsh -\w*x|xtrace")
_TRACE = re.compile(r"\++ (?P<command>\S.*)\Z")
_BREAKS = re.compile(r"[\s;&|(){}\"'`$]+")
_HEREDOC = re.compile(r"<<(?P<chomp>-?)\s*(?P<quote>[\"']?)(?P<word>[\w.-]+)(?P=quote)")
_CONTINUED = re.compile(r"\s*\\\n\s*")
_SHELL = re.compile(r"\b(?:ba|da|a|z|k)?sh\b")
_COMPLAINT = re.compile(r"(?P<program>[A-Za-z][\w.+-]*)(?:\[\d+\])?(?:: | ERR! |: \*\*\* )")
# Programs whose complaints carry another name, or none.
_SIGNS = (
    (re.compile(r"npm (?:ERR!|error)"), ("npm", "npx")),
    (re.compile(r"error Command failed with exit code|error An unexpected error"), ("yarn",)),
    (re.compile(r"[EW]: |Err:\d+ "), ("apt-get", "apt")),
    (re.compile(r"ERROR: (?:unable to select packages|.*\.apk|failed to)"), ("apk",)),
    (re.compile(r"ERROR: (?:Could not|No matching|Failed building|Cannot)"), ("pip", "pip3")),
    (re.compile(r"error\[E\d+\]: |error: could not compile"), ("cargo",)),
    (re.compile(r"\S+\.go:\d+:\d+: |go: "), ("go",)),
    (re.compile(r"fatal: "), ("git",)),
)
_ASIDE = {"then", "else", "elif", "do", "if", "while", "until", "!", "{", "(", "time", "exec"}
_BEFORE = {"sudo", "env", "command", "nice", "nohup", "xargs"}


def commands(run: str) -> list[str]:
    """The simple commands of a RUN step's text, in order; the whole where it cannot be cut."""
    text = run.strip()
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            return [text]
        return [shlex.join(map(str, words))] if isinstance(words, list) and words else [text]
    if len(text) > _LONGEST or "<<" in text:
        return [text]
    found = [part.strip() for part in _cut(text)]
    return [part for part in found if part] or [text]


def script(run: str, written: str) -> str:
    """What the shell runs: the text of a RUN step, or the here-document that is all of it.

    `written` is the instruction as it stands in the Dockerfile, with all of its lines.
    """
    match = _HEREDOC.fullmatch(run.strip())
    if not match:
        return run
    lines = iter(written.split("\n"))
    for line in lines:
        if line.rstrip().endswith(match[0]):
            break
    body = []
    for line in lines:
        text = line.lstrip("\t") if match["chomp"] else line
        if text == match["word"]:
            break
        body.append(text)
    if not body or (body[0].startswith("#!") and not _SHELL.search(body[0])):
        return run
    text = "\n".join(line for line in body if not line.lstrip().startswith("#"))
    return _CONTINUED.sub(" ", text)


def failed(run: str, output: Sequence[str], exit_code: int) -> str | None:
    """The command that failed, or None where the output does not tell.

    `output` are the last lines of the step, oldest first.
    """
    chain = commands(run)
    lines = [line.strip() for line in output if line.strip()]
    if _TRACES.search(run):
        known = set(_BREAKS.split(run))
        for line in reversed(lines):
            if (match := _TRACE.match(line)) and _program(match["command"], whole=True) in known:
                return match["command"]
    if len(chain) == 1:
        return chain[0] if "\n" not in chain[0] else None
    programs = [(one, _program(one)) for one in chain]
    for line in reversed(lines):
        if exit_code in (126, 127) and (match := _NOT_STARTED.search(line)):
            return _only(programs, (match["program"], match["program"].rpartition("/")[2]))
        for sign, names in _SIGNS:
            if sign.match(line):
                return _only(programs, names)
        if (match := _COMPLAINT.match(line)) and (one := _only(programs, (match["program"],))):
            return one
    return None


def _only(programs: Sequence[tuple[str, str]], names: Sequence[str]) -> str | None:
    found = [command for command, program in programs if program in names]
    return found[0] if len(found) == 1 else None


def _program(command: str, *, whole: bool = False) -> str:
    """The program that a simple command runs, without its directory if not the `whole` name."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    for word in words:
        if word in _ASIDE or word in _BEFORE or re.match(r"[A-Za-z_]\w*=", word):
            continue
        if word.startswith("-"):
            return ""
        word = word.lstrip("({")
        return word if whole else word.rpartition("/")[2]
    return ""


def _cut(text: str) -> list[str]:
    """Cut at `&&`, `||`, `;` and line ends that are neither quoted nor within brackets."""
    parts, part, quote, depth, at = [], "", "", 0, 0
    while at < len(text):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
            step = 2 if char == "\\" and quote == '"' else 1
        elif char == "\\":
            step = 2
        elif char in "'\"`":
            quote, step = char, 1
        elif char in "({":
            depth, step = depth + 1, 1
        elif char in ")}":
            depth, step = max(0, depth - 1), 1
        elif not depth and (text[at : at + 2] in ("&&", "||") or char in ";\n"):
            parts.append(part)
            part, step = "", 2 if char in "&|" else 1
            at += step
            continue
        else:
            step = 1
        part += text[at : at + step]
        at += step
    return [*parts, part]
