"""Plain `buildah build` of a commit, in the same namespaces as the service's: what to compare with.

The checkout is Git's own, without `.git`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dockerfiles import Case
from unpacked import Unpacked, unpack

from cluster.buildah import Buildah
from cluster.cluster import Cluster
from cluster.errors import ClusterError
from cluster.git_repository import GitRepository


@dataclass(frozen=True)
class PlainBuild:
    """The image, or what Buildah said instead."""

    image: Unpacked | None
    said: str


class PlainBuilds:
    """One checkout, below `scratch`, from which cases are built one after the other."""

    def __init__(self, cluster: Cluster, repository: GitRepository, scratch: Path) -> None:
        self._buildah: Buildah = cluster.buildah
        self._scratch = scratch
        self._source = scratch / "source"
        self._auth = self._buildah.auth_file(scratch, cluster.registry.credentials)
        check_out(repository, self._source)
        self._buildah.give(scratch)

    def build(self, case: Case) -> PlainBuild:
        """Build one case; nothing is raised where Buildah refuses it."""
        fields, tag = case.fields, f"plain/{case.name}"
        options = ["--format", "docker"] if case.docker_format else []
        options += ["--layers"] if case.layers else []
        if "target" in fields:
            options += ["--target", fields["target"]]
        for option, values in (("build-arg", "build_args"), ("label", "labels")):
            for name, value in fields.get(values, {}).items():
                options += [f"--{option}", f"{name}={value}"]
        done = self._buildah.run(
            [
                "build",
                "--isolation",
                "chroot",
                "--tls-verify=false",
                f"--authfile={self._auth}",
                f"--file={self._source / case.plain_path}",
                f"--tag={tag}",
                *options,
                str(self._source / fields["context_path"]),
            ],
            check=False,
        )
        if done.exit_code:
            return PlainBuild(None, done.output)
        target = self._scratch / case.name
        self._buildah.run(["push", tag, f"dir:{target}"])
        self._buildah.run(["rmi", "--force", tag])
        return PlainBuild(unpack(target), done.output)


def check_out(repository: GitRepository, target: Path) -> None:
    """Write the files of the repository's first commit."""
    target.mkdir()
    done = subprocess.run(
        [
            "git",
            f"--git-dir={repository.bare}",
            f"--work-tree={target}",
            "-c",
            f"safe.directory={repository.bare}",
            "checkout",
            "--quiet",
            "--force",
            repository.commit,
            "--",
            ".",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "GIT_INDEX_FILE": f"{target}.index",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        },
    )
    if done.returncode:
        raise ClusterError(f"git checkout: {done.stderr.strip()}")
