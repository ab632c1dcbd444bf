"""Which command of a RUN step failed, where the output tells.

A RUN step is often many commands joined by `&&` or `;`, and its exit code is that of one of them.
The text is cut into simple commands, conservatively, and the output is asked which it was:

1. A shell that traces (`set -x`) prints each command before it runs it: the last one failed.
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
_TRACE = re.compile(r"\++ (?P<command>\S.*)\Z")
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


def failed(run: str, output: Sequence[str], exit_code: int) -> str | None:
    """The command that failed, or None where the output does not tell.

    `output` are the last lines of the step, oldest first.
    """
    chain = commands(run)
    lines = [line.strip() for line in output if line.strip()]
    if traced := [match["command"] for line in lines if (match := _TRACE.match(line))]:
        return traced[-1] if re.search(r"\bset -\w*x|\bsh -\w*x|xtrace", run) else None
    if len(chain) == 1:
        return chain[0]
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


def _program(command: str) -> str:
    """The program that a simple command runs, without its directory."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    for word in words:
        if word in _ASIDE or word in _BEFORE or re.match(r"[A-Za-z_]\w*=", word):
            continue
        if word.startswith("-"):
            return ""
        return word.lstrip("({").rpartition("/")[2]
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
