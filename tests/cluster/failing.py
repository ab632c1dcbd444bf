"""Builds that fail, each with what must be said of it.

`line` and `step` are of the Dockerfile, the step's beginning as Buildah counts it; `command` is the
one command of a chain that failed, where it can be told; `says` and `hint` are parts of message and
hint. What `@BASE@`, `@REGISTRY@`, `@DEAD@`, `@SECRETS@` and `@SECRET@` stand for is filled in: the
base image, the cluster's registry, an address at which nobody listens, a path in Vault, and a line
of the secret there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Failing:
    """One build: Dockerfile, files beside it, fields of the request, and the failure."""

    name: str
    reason: str
    dockerfile: str | None = None
    line: int | None = None
    step: str | None = None
    command: str | None = None
    hint: str = ""
    says: str = ""
    phase: str = "build"
    files: dict[str, str] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    signal: str | None = None


def run(name: str, *lines: str, reason: str = "RunFailed", **expected: Any) -> Failing:
    """A Dockerfile whose RUN, from line 3 on, fails."""
    text = "FROM @BASE@\nRUN echo before\n" + "\n".join(lines) + "\n"
    return Failing(name, reason, text, **{"line": 3, "step": "3/4: RUN ", **expected})


def says(*output: str, code: int = 1) -> str:
    """A program that prints what a well-known one prints, and fails as it does."""
    quoted = "\n".join(f"echo '{line}' >&2" for line in output)
    return f"#!/bin/sh\n{quoted}\nexit {code}\n"


_NPM = says("npm ERR! code ERESOLVE", "npm ERR! ERESOLVE unable to resolve dependency tree")
_APT = says("Reading package lists...", "E: Unable to locate package libfoo-dev", code=100)
_PIP = says("ERROR: Could not find a version that satisfies the requirement flask==9.9")
_CC = says("src/main.c:3:5: error: unknown type name 'foo'", "make: *** [Makefile:2: all] Error 1")
_PROGRAMS = "COPY --chmod=755 npm apt-get pip make /bin/\n"
_WITH = {"npm": _NPM, "apt-get": _APT, "pip": _PIP, "make": _CC}


def tool(name: str, command: str, failed: str | None, code: int, says: str) -> Failing:
    """A chain in which one of these programs fails."""
    text = f"FROM @BASE@\n{_PROGRAMS}RUN {command}\n"
    expected = {"line": 3, "step": f"3/4: RUN {command}", "command": failed or command}
    return Failing(name, "RunFailed", text, says=says, files=_WITH, exit_code=code, **expected)


FAILING = (
    # RUN: plain, chains, shells
    run("run-false", "RUN false", exit_code=1, command="false"),
    run("run-code", "RUN exit 42", exit_code=42, says="exit status 42"),
    run(
        "run-chain-cat",
        "RUN mkdir -p /a && cat /no/such && echo after",
        command="cat /no/such",
        says="cat /no/such",
    ),
    run("run-not-found", "RUN true && frobnicate --all", exit_code=127, command="frobnicate --all"),
    run(
        "run-continued",
        "RUN echo one && \\",
        "    # a comment",
        "    frob two && \\",
        "    echo three",
        exit_code=127,
        command="frob two",
    ),
    run("run-traced", "RUN set -ex; echo a; test -e /b; echo c", command="test -e /b"),
    run("run-exec-form", 'RUN ["/bin/cat", "/no such"]', command="/bin/cat '/no such'"),
    run(
        "run-exec-missing",
        'RUN ["/no/such/program"]',
        command="/no/such/program",
    ),
    run("run-not-executable", "RUN : > /x && /x", exit_code=126, command="/x"),
    run("run-heredoc", "RUN <<EOF", "set -e", "echo in", "false", "EOF", command="<<EOF"),
    run(
        "run-heredoc-names",
        "RUN <<EOF",
        "set -e",
        "mkdir -p \\",
        "  /a",
        "cat /no/such",
        "echo after",
        "EOF",
        command="cat /no/such",
    ),
    run(
        "run-names-storage",
        "RUN dnf -y install buildah fuse-overlayfs",
        exit_code=127,
        command="dnf -y install buildah fuse-overlayfs",
    ),
    run("run-names-images", 'RUN grep "image not known" /log', exit_code=2),
    run("run-names-syntax", "RUN false || (echo parse error; exit 1)", exit_code=1),
    run(
        "run-plus",
        "RUN echo + x@1.0.0 && false",
        command="echo + x@1.0.0 && false",
    ),
    run("run-lowercase", "run cat /nowhere", step="3/4: ", command="cat /nowhere"),
    run("run-long", f"RUN cat /nowhere && echo {'x' * 13_000}", command="cat /nowhere"),
    run(
        "run-with-secret",
        "RUN --mount=type=secret,id=tok cat /nowhere/@SECRET@ && echo after",
        command="cat /nowhere/[redacted]",
        step="3/4: RUN --mount=type=secret,id=tok cat /nowhere/[redacted]",
        request={"build_secrets": {"tok": "@SECRETS@#token"}},
    ),
    Failing(
        "run-trigger",
        "RunFailed",
        "FROM @BASE@ AS made\nONBUILD RUN cat /nowhere\nFROM made\nRUN true\n",
        line=3,
        step="2/4: RUN cat /nowhere",
        command="cat /nowhere",
    ),
    run(
        "run-script",
        "COPY --chmod=755 script /script",
        'RUN ["/script"]',
        line=4,
        step="4/5: RUN ",
        files={"script": "echo no first line\n"},
        hint="#!",
    ),
    run("run-pipe", "RUN echo x | grep y", command="echo x | grep y"),
    run("run-killed", "RUN kill -9 $$", signal="SIGKILL"),
    run("run-segfault", "RUN kill -SEGV $$", signal="SIGSEGV"),
    run("run-quoted", "RUN echo 'a && b' && cat /gone", command="cat /gone"),
    run("run-or", "RUN false || cat /gone2", command="cat /gone2"),
    run(
        "run-silent-chain",
        "RUN true && false && true",
        command="true && false && true",
    ),
    run("run-user", "RUN cat /etc/shadow-", command="cat /etc/shadow-"),
    run("run-syntax", "RUN if true; then echo", exit_code=2, says="exit status 2"),
    run(
        "run-no-network",
        "RUN wget -q http://no-such.invalid/",
        request={"build_network": "none"},
        hint="public network",
    ),
    run(
        "run-secret-missing",
        "RUN --mount=type=secret,id=tok,required=true cat /run/secrets/tok",
        reason="SecretNotFound",
        hint="build_secrets",
    ),
    run(
        "run-second-stage",
        "FROM @BASE@",
        "RUN cat /nowhere",
        line=4,
        step="2/3: RUN cat /nowhere",
        command="cat /nowhere",
    ),
    run(
        "run-wrong-platform",
        "COPY --chmod=755 arm /arm",
        'RUN ["/arm"]',
        line=4,
        step="4/5: RUN ",
        files={"arm": "ARM"},
        hint="architecture",
    ),
    tool("npm", "echo a && npm ci && echo b", "npm ci", 1, "npm ci"),
    tool(
        "apt", "apt-get install -y libfoo-dev && echo b", "apt-get install -y libfoo-dev", 100, ""
    ),
    tool(
        "pip", "echo a; pip install -r requirements.txt", "pip install -r requirements.txt", 1, ""
    ),
    tool("make", "cd / && make all", "make all", 1, "make all"),
    tool("apt-twice", "apt-get update; apt-get install -y x", None, 100, "exit status 100"),
    # The Dockerfile itself
    Failing("no-dockerfile", "DockerfileNotFound", None, says="Dockerfile"),
    Failing("empty", "DockerfileInvalid", "# nothing\n", says="no FROM"),
    Failing(
        "unknown-keyword", "DockerfileInvalid", "FROM @BASE@\nRUNN true\n", 2, "2/3: RUNN true"
    ),
    Failing("before-from", "DockerfileInvalid", "RUN true\nFROM @BASE@\n", 1),
    Failing("from-nothing", "DockerfileInvalid", "ARG B\nFROM ${B}\n", 2),
    Failing("from-words", "DockerfileInvalid", "FROM @BASE@ IS x\n", 1),
    Failing("open-heredoc", "DockerfileInvalid", "FROM @BASE@\nRUN <<EOF\necho\n", 2),
    Failing("host-transport", "DockerfileRefused", "FROM @BASE@\nCOPY --from=oci:/x / /\n", 2),
    Failing("no-target", "DockerfileInvalid", "FROM @BASE@\n", request={"target": "release"}),
    Failing("copy-arguments", "DockerfileInvalid", "FROM @BASE@\nCOPY onlyone\n", 2),
    Failing(
        "bad-env",
        "DockerfileInvalid",
        "FROM @BASE@\nRUN true\nENV lonely\n",
        3,
        "ENV lonely",
        says="ENV must have",
    ),
    Failing("bad-shell", "DockerfileInvalid", "FROM @BASE@\nSHELL sh -c\n", 2, "2/3: SHELL"),
    Failing(
        "bad-variable",
        "DockerfileInvalid",
        "FROM @BASE@\nRUN true\nENV A=${B:~x}\n",
        3,
        "ENV A",
        says="modifier",
    ),
    # COPY and ADD
    Failing(
        "copy-missing",
        "CopyFailed",
        "FROM @BASE@\nCOPY nope.txt /x\n",
        2,
        "2/3: COPY nope.txt",
        says="nope.txt",
    ),
    Failing(
        "copy-names-storage",
        "CopyFailed",
        "FROM @BASE@\nCOPY fuse-overlayfs /x\n",
        2,
        says="fuse-overlayfs",
        hint=".dockerignore",
    ),
    Failing(
        "copy-owner",
        "CopyFailed",
        "FROM @BASE@\nCOPY --chown=nouser kept.txt /x\n",
        2,
        says="nouser",
        files={"kept.txt": "x"},
        hint="--chown",
    ),
    Failing(
        "copy-ignored",
        "CopyFailed",
        "FROM @BASE@\nCOPY kept.txt /x\n",
        2,
        says=".dockerignore leaves out all of kept.txt",
        files={"kept.txt": "x", ".dockerignore": "*.txt\n"},
        hint=".dockerignore",
    ),
    Failing(
        "copy-glob",
        "CopyFailed",
        "FROM @BASE@\nRUN true\nCOPY *.jar /x/\n",
        3,
        says="the build context has nothing like /*.jar",
        hint=".dockerignore",
    ),
    Failing("copy-outside", "CopyFailed", "FROM @BASE@\nCOPY ../../etc/passwd /x\n", 2),
    Failing(
        "copy-stage-file",
        "CopyFailed",
        "FROM @BASE@ AS made\nFROM @BASE@\nCOPY --from=made /missing /x\n",
        3,
        "2/3: COPY --from=made /missing",
        says="/missing",
        hint="made",
    ),
    Failing("add-url", "DownloadFailed", "FROM @BASE@\nADD http://@DEAD@/file /x\n", 2),
    Failing(
        "add-no-network",
        "CopyFailed",
        "FROM @BASE@\nADD http://no-such.invalid/file /x\n",
        2,
        request={"build_network": "none"},
        hint="build_network none",
    ),
    # Base images
    Failing("base-absent", "BaseImageNotFound", "FROM @REGISTRY@/no/such:1\n", 1, says="no/such"),
    Failing("base-unreachable", "BaseImageUnavailable", "FROM @DEAD@/x:1\n", 1, says="refused"),
    Failing("base-platform", "BaseImageNotFound", "FROM --platform=linux/s390x @BASE@\n", 1),
    Failing(
        "base-of-copy",
        "BaseImageNotFound",
        "FROM @BASE@\nRUN true\nCOPY --from=@REGISTRY@/no/such:1 / /\n",
        3,
        "COPY --from=",
    ),
    # Git
    Failing("git-ref", "GitRefNotFound", "FROM @BASE@\n", request={"git_ref": "no-such"}),
    Failing("git-commit", "GitRefNotFound", "FROM @BASE@\n", request={"git_ref": "0" * 40}),
    Failing(
        "git-host",
        "GitUnreachable",
        "FROM @BASE@\n",
        request={"repo_url": "http://@DEAD@/x.git"},
    ),
    # Limits
    Failing(
        "timeout",
        "BuildTimeout",
        "FROM @BASE@\nRUN sleep 60\n",
        2,
        "2/3: RUN sleep 60",
        "sleep 60",
        request={"build_timeout": 20},  # enough to come to the step beside all the others
    ),
    Failing("context", "DockerfileNotFound", "FROM @BASE@\n", request={"context_path": "no/such"}),
    # Tests
    Failing(
        "test-code",
        "TestFailed",
        "FROM @BASE@\n",
        phase="test",
        step="test 2/2",
        command="exit 3",
        exit_code=3,
        request={"test_commands": ["true", "exit 3"]},
    ),
    Failing(
        "test-missing",
        "TestCommandNotFound",
        "FROM @BASE@\n",
        phase="test",
        step="test 1/1",
        command='["/no/such"]',
        request={"test_commands": [["/no/such"]]},
    ),
    Failing(
        "test-not-executable",
        "TestFailed",
        "FROM @BASE@\nRUN : > /x\n",
        phase="test",
        says="permission denied",
        hint="chmod",
        request={"test_commands": [["/x"]]},
    ),
    Failing(
        "test-script",
        "TestFailed",
        "FROM @BASE@\nCOPY --chmod=755 script /x\n",
        phase="test",
        says="exec format error",
        files={"script": "echo no first line\n"},
        hint="#!",
        request={"test_commands": [["/x"]]},
    ),
    Failing(
        "test-timeout",
        "TestTimeout",
        "FROM @BASE@\n",
        phase="test",
        step="test 1/1",
        command="sleep 60",
        request={"test": {"commands": ["sleep 60"], "timeout": 2}},
    ),
    Failing(
        "test-entry-point",
        "TestFailed",
        'FROM @BASE@\nENTRYPOINT ["false"]\n',
        phase="test",
        request={"test": {"entry_point": True}},
    ),
    # Publication
    Failing(
        "push-nobody",
        "RegistryUnavailable",
        "FROM @BASE@\n",
        phase="publish",
        request={"registry_url": "@DEAD@/x", "registry_credentials_path": None},
    ),
    Failing(
        "push-refused",
        "RegistryAuthenticationFailed",
        "FROM @BASE@\n",
        phase="publish",
        request={"registry_credentials_path": None},
    ),
)
