"""Repositories on the cluster's Git server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .account import Account
from .errors import ClusterError

Source = Path | Mapping[str, str | bytes]
"""A directory, or file contents by relative path; a path ending in `!` is made executable."""


@dataclass
class GitRepository:
    """One bare repository: its URLs, its first commit, and ways to add to it.

    `http_url` and `ssh_url` carry no credentials.
    """

    name: str
    http_url: str
    ssh_url: str
    commit: str
    bare: Path
    account: Account

    def push(
        self,
        source: Source,
        *,
        branch: str = "main",
        message: str = "change",
        tag: str | None = None,
        submodules: Mapping[str, str] | None = None,
        time: int | None = None,
    ) -> str:
        """Add one commit whose tree is `source` to `branch`; return its full id.

        `submodules` maps a path to `URL@COMMIT` (the commit after the last `@`); `time` is the
        commit's, in seconds since 1970.
        """
        with tempfile.TemporaryDirectory(prefix="nbs-git-") as directory:
            root = Path(directory)
            self.account.own(root)
            work, index = root / "work", root / "index"
            work.mkdir()
            _write_tree(source, work)
            if submodules:
                _write_gitmodules(work, submodules)
            _give(root, self.account)
            environ = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(work)}
            self._git("add", "--all", "--force", environ=environ)
            for path, target in (submodules or {}).items():
                commit = target.rpartition("@")[2]
                self._git(
                    "update-index",
                    "--add",
                    "--cacheinfo",
                    f"160000,{commit},{path}",
                    environ=environ,
                )
            tree = self._git("write-tree", environ=environ)
        parent = self.resolve(f"refs/heads/{branch}")
        parents = ["-p", parent] if parent else []
        dated = {} if time is None else {"GIT_COMMITTER_DATE": f"@{time} +0000"}
        commit = self._git("commit-tree", tree, *parents, "-m", message, environ=dated)
        self._git("update-ref", f"refs/heads/{branch}", commit)
        if tag is not None:
            self.tag(tag, commit)
        return commit

    def tag(self, name: str, commit: str, *, annotated: bool = False) -> None:
        """Make (or move) a tag on `commit`."""
        options = ["-a", "-m", name] if annotated else []
        self._git("tag", "--force", *options, "--", name, commit)

    def resolve(self, ref: str) -> str | None:
        """Return the full commit a ref names, or None."""
        done = self._run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return done.stdout.strip() if done.returncode == 0 else None

    def _git(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        done = self._run(*arguments, environ=environ)
        if done.returncode != 0:
            raise ClusterError(f"git {' '.join(arguments)} in {self.bare}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _run(
        self, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", f"--git-dir={self.bare}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={**_identity(), **(environ or {})},
            **self.account.popen_arguments(),
        )


def create(
    name: str, source: Source, *, bare: Path, http_url: str, ssh_url: str, account: Account
) -> GitRepository:
    """Make the repository anew (an old one of that name is replaced) with one commit on main."""
    if bare.exists():
        shutil.rmtree(bare)
    bare.parent.mkdir(parents=True, exist_ok=True)
    account.own(bare.parent)
    repository = GitRepository(name, http_url, ssh_url, "", bare, account)
    done = subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=_identity(),
        **account.popen_arguments(),
    )
    if done.returncode != 0:
        raise ClusterError(f"git init {bare}: {done.stderr.strip()}")
    # Full commits are fetched by id, short ones are looked for in a history without files; servers
    # in the field allow both, git's default does not.
    for setting in ("allowAnySHA1InWant", "allowFilter"):
        repository._git("config", f"uploadpack.{setting}", "true")
    repository.commit = repository.push(source, message="first commit")
    return repository


def _identity() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Demo",
        "GIT_AUTHOR_EMAIL": "demo@example.com",
        "GIT_COMMITTER_NAME": "Demo",
        "GIT_COMMITTER_EMAIL": "demo@example.com",
    }


def _write_tree(source: Source, target: Path) -> None:
    if isinstance(source, Path):
        shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
        return
    for name, content in source.items():
        path = target / name.removesuffix("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if name.endswith("!"):
            path.chmod(0o755)


def _write_gitmodules(work: Path, submodules: Mapping[str, str]) -> None:
    lines = []
    for path, target in submodules.items():
        url = target.rpartition("@")[0]
        lines.append(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    (work / ".gitmodules").write_text("".join(lines))


def _give(root: Path, account: Account) -> None:
    for path in [root, *root.rglob("*")]:
        account.own(path)
