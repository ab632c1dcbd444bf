"""Fetch one ref of a repository: shallow, without hooks, with credentials that leave no trace.

What may go wrong in Git's own behaviour, and what closes it:
1. Options hidden in user strings: everything of the user's stands behind `--`; the request's
   validation refuses leading dashes and colons.
2. Transports that run programs or read local files: `GIT_ALLOW_PROTOCOL` names the allowed ones.
3. Credentials in argv, URLs or `.git/config`: Git asks this program (`GIT_ASKPASS`, `GIT_SSH`),
   which reads a file of mode 0600 that exists during the fetch only and answers for one host only.
4. Redirects that carry a password elsewhere: not followed.
5. Submodules on servers that the operator does not allow: each URL is looked at before Git follows
   it, one level of submodules after the other.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

from controller.contract import git_names
from controller.contract.field_error import FieldError
from controller.contract.patch import digest
from controller.contract.patterns import any_matches
from controller.tasks.context import large_files
from controller.tasks.context.askpass import write_answers
from controller.tasks.environment import TaskEnvironment
from controller.tasks.errors import PhaseFailed
from controller.tasks.failures import git_failures
from controller.tasks.phase_log import PhaseLog
from controller.tasks.process import Deadline, capture, run
from controller.tasks.registries.stalling import StallGuard

_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}\Z")
_PATHS = 50  # of a patch, in the outcome
_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?!//)")

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "fetch.fsckObjects=true",
    "http.followRedirects=false",
    "credential.helper=",
    "gc.auto=0",
    "advice.detachedHead=false",
    "submodule.recurse=false",
    # Bytes a second: while a server puts a large repository together, its signs of life are no more
    # than that. One that is ever so slow has until the build's deadline.
    "http.lowSpeedLimit=1",
)

_GRACE = 2  # seconds


class Repository:
    """A checkout of one commit below `target`, which is made anew."""

    def __init__(
        self,
        environment: TaskEnvironment,
        log: PhaseLog,
        deadline: Deadline,
        url: str,
        target: Path,
        credential: dict[str, str],
    ) -> None:
        self._environment = environment
        self._log = log
        self._deadline = deadline
        self._url = url
        self._target = target
        self._credential = credential
        self._private = environment.secrets_dir / "git"
        self._said: list[str] = []
        self._with_large_files = True
        self.applied: dict[str, Any] | None = None
        self.commit_time = 0
        """Seconds since 1970, once `fetch` is done."""

    def fetch(
        self,
        ref: str,
        *,
        submodules: bool = False,
        patch: str | None = None,
        with_large_files: bool = True,
    ) -> str:
        """Check `ref` (branch, tag, full or short commit) out; the full commit. Raises PhaseFailed.

        Without `with_large_files`, files that Git LFS keeps stay the pointers that Git has.
        `patch` is applied on top; `applied` says afterwards what it was.

        `.git` is removed afterwards: it differs between fetches of the same commit, which would
        spoil the layer cache, and no build should carry it by accident.
        """
        self._with_large_files = with_large_files
        self._check_host(self._url)
        self._target.mkdir(parents=True)
        self._private.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            env = self._env()
            self._git(env, "init", "--quiet", "--template=")
            self._check_out(env, ref)
            commit = self._commit(env)
            self._fetch_large_files(env, self._target, self._url)
            if submodules:
                self._fetch_submodules(env, self._target)
            if patch:
                self._apply(env, patch)
            self._settle(env)
        finally:
            shutil.rmtree(self._private, ignore_errors=True)
        return commit

    def _check_out(self, env: dict[str, str], ref: str) -> None:
        shallow = ("--depth", "1", "--no-tags", "--no-recurse-submodules")
        try:
            self._ask(env, "fetch", "--quiet", *shallow, "--", self._url, ref)
        except PhaseFailed as failed:
            if failed.reason != "GitRefNotFound" or not _SHORT_COMMIT.match(ref):
                raise
            commit = self._find_commit(env, ref)
            # The commit's files are still to come: Git asks for them as it writes them.
            self._ask(env, "checkout", "--quiet", "--detach", commit)
        else:
            self._git(env, "checkout", "--quiet", "--detach", "FETCH_HEAD")

    def _find_commit(self, env: dict[str, str], short: str) -> str:
        """No server resolves an abbreviated commit: fetch the history without files, then look."""
        self._log.say(f"{short} is no branch or tag: looking for a commit that begins so")
        self._ask(
            env,
            "fetch",
            "--quiet",
            "--filter=blob:none",
            "--no-recurse-submodules",
            "--",
            self._url,
            "+refs/heads/*:refs/remotes/nbs/*",
            "+refs/tags/*:refs/tags/*",
        )
        code, commit, _ = capture(
            self._argv("rev-parse", "--verify", "--quiet", f"{short}^{{commit}}"),
            self._deadline,
            env=env,
            cwd=self._target,
        )
        if code != 0 or not commit.startswith(short):
            raise PhaseFailed(
                "GitRefNotFound", f"no branch, tag or single commit of the repository is {short}"
            )
        return commit

    def _fetch_submodules(self, env: dict[str, str], tree: Path) -> None:
        """The submodules of a checkout, then theirs."""
        self._git(env, "submodule", "--quiet", "init", cwd=tree)
        _, urls, _ = capture(
            self._argv("config", "--null", "--get-regexp", r"^submodule\..*\.url$"),
            self._deadline,
            env=env,
            cwd=tree,
        )
        for entry in filter(None, urls.split("\0")):
            self._check_host(entry.partition("\n")[2])
        self._ask(env, "submodule", "--quiet", "update", "--depth", "1", "--jobs", "2", cwd=tree)
        _, listed, _ = capture(
            self._argv("ls-files", "--stage", "-z"), self._deadline, env=env, cwd=tree
        )
        for entry in listed.split("\0"):
            mode, _, path = entry.partition("\t")
            if mode.startswith("160000 ") and Path(tree, path, ".git").is_file():
                self._fetch_large_files(env, tree / path, self._remote(env, tree / path))
                self._fetch_submodules(env, tree / path)

    def _remote(self, env: dict[str, str], tree: Path) -> str:
        """Where a submodule came from."""
        argv = self._argv("config", "--get", "remote.origin.url")
        return capture(argv, self._deadline, env=env, cwd=tree)[1]

    def _fetch_large_files(self, env: dict[str, str], tree: Path, url: str) -> None:
        """Put the content of files that Git LFS keeps in the place of their pointers."""
        if not self._with_large_files:
            return
        argv = self._argv("ls-files", "-z", "--", ".gitattributes", "**/.gitattributes")
        _, listed, _ = capture(argv, self._deadline, env=env, cwd=tree)
        if not large_files.used(tree, filter(None, listed.split("\0"))):
            return
        options = [word for one in large_files.settings(url) for word in ("-c", one)]
        self._said.clear()
        begun = time.monotonic()
        argv = self._argv(*options, "lfs", "pull")
        if run(argv, self._heard, self._watched(), env=env, cwd=tree):
            host = host_of(self._url)
            raise large_files.failure(
                self._said, lambda: git_failures.failure("lfs pull", self._said, host)
            )
        argv = self._argv(*options, "lfs", "ls-files", "--name-only")
        _, names, _ = capture(argv, self._deadline, env=env, cwd=tree)
        paths = [tree / name for name in names.split("\n") if name]
        sizes = [path.lstat().st_size for path in paths if os.path.lexists(path)]
        counted = f"{len(sizes)} file{'s' if len(sizes) != 1 else ''}, {sum(sizes) / 1e6:.1f} MB"
        self._log.say(f"Git LFS: {counted} in {time.monotonic() - begun:.1f} s")

    def _apply(self, env: dict[str, str], patch: str) -> None:
        """Apply a unified diff. Git writes nothing outside the checkout, nor through a link."""
        file = self._private / "patch"
        file.write_text(patch, encoding="utf-8", newline="")
        self._said.clear()
        argv = self._argv("apply", "--whitespace=nowarn", "--", str(file))
        if run(argv, self._heard, self._deadline, env=env, cwd=self._target):
            said = [line.removeprefix("error: ") for line in self._said if line.strip()]
            raise PhaseFailed("PatchRejected", "; ".join(said[:4]) or "git apply gave no message")
        argv = self._argv("apply", "--numstat", "-z", "--", str(file))
        _, counted, _ = capture(argv, self._deadline, env=env, cwd=self._target)
        self.applied = _numstat(patch, counted)
        words = "{files} files, +{additions} -{deletions}".format(**self.applied)
        self._log.say(f"patch {self.applied['digest']}: {words}")

    def _check_host(self, url: str) -> None:
        """Raise PhaseFailed for a URL on a server that the operator does not allow."""
        allowed = self._environment.git_hosts
        if not allowed:
            return
        try:
            host = git_names.host(git_names.url(url))
        except FieldError as error:
            raise PhaseFailed("GitHostNotAllowed", f"{url!r} {error.problem}") from error
        if not any_matches(allowed, host):
            raise PhaseFailed(
                "GitHostNotAllowed", f"{host} is not among the allowed hosts: {', '.join(allowed)}"
            )

    def _commit(self, env: dict[str, str]) -> str:
        _, commit, _ = capture(
            self._argv("rev-parse", "--verify", "HEAD^{commit}"),
            self._deadline,
            env=env,
            cwd=self._target,
        )
        return commit

    def _settle(self, env: dict[str, str]) -> None:
        """Give every file the commit's time, and drop Git's own directory."""
        _, seconds, _ = capture(
            self._argv("log", "-1", "--format=%ct"), self._deadline, env=env, cwd=self._target
        )
        self.commit_time = int(seconds)
        moment = (self.commit_time, self.commit_time)
        for folder, folders, files in os.walk(self._target, topdown=False):
            if ".git" in folders:
                shutil.rmtree(Path(folder, ".git"))
                folders.remove(".git")
            if ".git" in files:  # a submodule's pointer to its parent's .git
                Path(folder, ".git").unlink()
                files.remove(".git")
            for name in (*folders, *files):
                os.utime(Path(folder, name), moment, follow_symlinks=False)
        os.utime(self._target, moment)

    def _git(self, env: dict[str, str], *arguments: str, cwd: Path | None = None) -> None:
        """Run a command that needs this node alone."""
        self._run(env, arguments, self._deadline, cwd)

    def _ask(self, env: dict[str, str], *arguments: str, cwd: Path | None = None) -> None:
        """Run a command that asks a Git server."""
        self._run(env, arguments, self._watched(), cwd, host_of(self._url))

    def _run(
        self,
        env: dict[str, str],
        arguments: tuple[str, ...],
        deadline: Deadline,
        cwd: Path | None,
        host: str = "",
    ) -> None:
        self._said.clear()
        if run(self._argv(*arguments), self._heard, deadline, env=env, cwd=cwd or self._target):
            raise git_failures.failure(arguments[0], self._said, host)

    def _watched(self) -> Deadline:
        """The deadline, and an end before it where nothing comes from the server any more."""

        def failure(seconds: float) -> PhaseFailed:
            told = f"{host_of(self._url)}: nothing came from the Git server for {seconds:.0f} s"
            return PhaseFailed("GitUnreachable", told)

        # Over HTTP Git notices by itself, and says more.
        seconds = self._environment.git_stall_seconds + _GRACE
        return StallGuard(seconds, failure, aside="ssh").within(self._deadline)

    def _heard(self, stream: str, text: str) -> None:
        self._said.append(self._log.write(stream, text))

    def _argv(self, *arguments: str) -> list[str]:
        settings = (*_SETTINGS, f"http.lowSpeedTime={self._environment.git_stall_seconds}")
        return ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]

    def _env(self) -> dict[str, str]:
        known_hosts = self._credential.get("known_hosts") or self._environment.git_known_hosts
        answers = write_answers(
            self._private,
            host=host_of(self._url),
            credential=self._credential,
            known_hosts=known_hosts,
        )
        runner = str(Path(sys.argv[0]).resolve())
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._private),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ALLOW_PROTOCOL": ":".join(self._environment.git_protocols),
            "GIT_ASKPASS": runner,
            "GIT_SSH": runner,
            "GIT_SSH_VARIANT": "ssh",
            "NBS_ASKPASS": str(answers),
            **{
                name: os.environ[name]
                for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
                if name in os.environ
            },
        }


def _numstat(patch: str, counted: str) -> dict[str, Any]:
    """What a patch changes, from `git apply --numstat -z`; binary files have no lines."""
    rows = [entry.split("\t", 2) for entry in counted.split("\0") if entry.count("\t") >= 2]
    return {
        "digest": digest(patch),
        "files": len(rows),
        "additions": sum(int(added) for added, _, _ in rows if added.isdigit()),
        "deletions": sum(int(deleted) for _, deleted, _ in rows if deleted.isdigit()),
        "paths": [path for _, _, path in rows[:_PATHS]],
    }


def host_of(url: str) -> str:
    """The host that a Git URL names, with its port if it has one; `git@host:path` is known too."""
    if "://" in url:
        parts = urllib.parse.urlsplit(url)
        return parts.netloc.rpartition("@")[2]
    match = _SCP_LIKE.match(url)
    return match["host"] if match else ""
