"""What variables stand for in a Dockerfile, as Buildah has it.

Before the first FROM there are ARGs and the predefined ones; FROM sees those. A stage sees the ARGs
that it declares itself and those of the stage that it is based on; ENV hides an ARG of its name.
The environment of a base image is not known here.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping

from controller.tasks.dockerfiles.instructions import Instruction
from controller.tasks.dockerfiles.substitution import SubstitutionError, TooLongError, expand
from controller.tasks.isolation import platforms

_WORD = re.compile(r"(?:[^\s\"'\\]|\\.|\"(?:[^\"\\]|\\.)*\"|'[^']*')+")
_BLANKS = re.compile(r"[\t\v\f\r ]+")
# These need no ARG: https://github.com/openshift/imagebuilder (builtinAllowedBuildArgs)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_UNDECLARED = frozenset((*_PROXIES, *map(str.upper, _PROXIES)))


class Heading:
    """The ARGs before the first FROM. `given` are the build arguments of the request.

    `all` is what FROM sees: those `declared` and those `predefined`.
    """

    def __init__(self, given: Mapping[str, str], platform: str) -> None:
        # TARGETPLATFORM is what it is, whatever is given.
        self.given = {name: text for name, text in given.items() if name != "TARGETPLATFORM"}
        predefined = platforms.arguments(platform)
        self.predefined = {name: self.given.get(name, text) for name, text in predefined.items()}
        self.declared: dict[str, str] = {}
        self.all = ChainMap(self.predefined, self.declared)

    def declare(self, instruction: Instruction) -> None:
        """Take in an ARG. Raises SubstitutionError."""
        for word in declarations(instruction):
            name, has_default, default = word.partition("=")
            if name in self.predefined:
                continue
            if name in self.given:
                self.declared[name] = self.given[name]
            elif has_default:
                _assign(self.declared, name, default, self.all)


class Variables:
    """The variables of a stage; `parent` are those at the end of the stage it is based on.

    `all` are the `arguments` and the environment.
    """

    def __init__(self, heading: Heading, parent: Variables | None = None) -> None:
        self._heading = heading
        proxies = _UNDECLARED & heading.given.keys()
        self.arguments = {name: heading.given[name] for name in proxies}
        self.arguments |= parent.arguments if parent else {}
        self._environment: dict[str, str] = dict(parent._environment) if parent else {}
        self.all = ChainMap(self._environment, self.arguments)

    def take(self, instruction: Instruction) -> None:
        """Take in an ARG or ENV. Raises SubstitutionError for an ARG that ends Buildah at once."""
        if instruction.keyword == "ARG":
            for word in declarations(instruction):
                self._declare(*word.partition("="))
        elif instruction.keyword == "ENV":
            self._set(instruction)

    def _declare(self, name: str, has_default: str, default: str) -> None:
        heading = self._heading
        if has_default:
            self._check(default)
        if name in heading.predefined:
            self.arguments[name] = heading.predefined[name]
        elif name in heading.given:
            self.arguments[name] = heading.given[name]
        elif has_default:
            _assign(self.arguments, name, default, self.all)
        elif name in heading.declared:
            self.arguments[name] = heading.declared[name]

    def _check(self, default: str) -> None:
        """Buildah fills in every default before it begins, and knows predefined ARGs only then."""
        try:
            expand(default, self._heading.predefined)
        except TooLongError:
            return

    def _set(self, instruction: Instruction) -> None:
        words = _WORD.findall(instruction.text)
        pairs = [word.partition("=")[::2] for word in words]
        if words and "=" not in words[0]:  # ENV NAME the whole rest
            name, _, rest = _BLANKS.sub(" ", instruction.text, count=1).partition(" ")
            pairs = [(name, rest)]
        found: dict[str, str] = {}
        for name, text in pairs:
            try:
                _assign(found, name, text, self.all)
            except SubstitutionError:
                return  # the step itself will fail, with words of its own
        self._environment |= found


def declarations(instruction: Instruction) -> list[str]:
    """The words NAME or NAME=VALUE of an ARG, quotes left in."""
    return _WORD.findall(instruction.text)


def _assign(values: dict[str, str], name: str, text: str, known: Mapping[str, str]) -> None:
    try:
        values[name] = expand(text, known)
    except TooLongError:
        values.pop(name, None)  # only who names an image by it would have to know
