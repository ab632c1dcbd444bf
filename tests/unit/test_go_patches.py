"""Our changes to a program's source: they are applied, and a change of them is a new program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import go_patches
from cluster.paths import REPOSITORY
from cluster.pins import PROGRAMS
from cluster.release_archive import UnavailableError
from cluster.toolchain import Toolchain

OURS = "patches/example.com/hello"
PATCH = """\
Why it is needed.

--- a/cmd/hello/main.go
+++ b/cmd/hello/main.go
@@ -1,3 +1,3 @@
 package main
 import "fmt"
-func main() { fmt.Println("as published") }
+func main() { fmt.Println("as changed") }
"""
SOURCE = 'package main\nimport "fmt"\nfunc main() { fmt.Println("as published") }\n'


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module of ours that leads to another with a program."""
    published, ours = tmp_path / "published", tmp_path / "ours"
    (published / "cmd" / "hello").mkdir(parents=True)
    (published / "go.mod").write_text("module example.com/hello\n\ngo 1.21\n")
    (published / "cmd" / "hello" / "main.go").write_text(SOURCE)
    (ours / OURS).mkdir(parents=True)
    (ours / "go.mod").write_text(
        "module ours\n\ngo 1.21\n\nrequire example.com/hello v0.0.0\n\n"
        f'replace example.com/hello v0.0.0 => "{published}"\n'
    )
    (ours / "go.sum").write_text("")
    (ours / OURS / "words.patch").write_text(PATCH)
    return ours


def apply(module: Path, tmp_path: Path) -> Path:
    # What stands in for Go here only says where the module is, as `go list` does.
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho '{tmp_path}/published'\n")
    go.chmod(0o755)
    into = tmp_path / "into"
    into.mkdir()
    return go_patches.apply(module, go, dict(os.environ), into)


def test_the_copy_is_changed_and_the_build_led_to_it(module: Path, tmp_path: Path) -> None:
    modfile = apply(module, tmp_path)
    changed = modfile.parent / "example.com" / "hello" / "cmd" / "hello" / "main.go"
    assert "as changed" in changed.read_text()
    source = modfile.parent / "example.com" / "hello"
    assert f'replace example.com/hello => "{source}"' in modfile.read_text()
    assert "as published" in (tmp_path / "published" / "cmd" / "hello" / "main.go").read_text()


def test_a_change_that_does_not_apply_is_no_program(module: Path, tmp_path: Path) -> None:
    (module / OURS / "words.patch").write_text(PATCH.replace("as published", "as it was"))
    with pytest.raises(UnavailableError, match="git apply ended with 1"):
        apply(module, tmp_path)


def test_within_a_repository_the_change_applies_too(module: Path, tmp_path: Path) -> None:
    """Symptom: `git apply` said nothing and changed nothing below somebody's repository."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    into = apply(module, tmp_path).parent
    assert "as changed" in (into / "example.com/hello/cmd/hello/main.go").read_text()


def test_another_change_is_another_program(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    shutil.copytree(REPOSITORY / "nomad" / "toolchain", modules)
    toolchain = Toolchain({"HOME": str(tmp_path)}, modules=modules)
    before = toolchain.cached_path(PROGRAMS["buildah"])
    with (
        modules / "buildah" / "patches" / "go.podman.io" / "buildah" / "chroot-output.patch"
    ).open("a") as stream:
        stream.write("\n")
    assert before.name.startswith("buildah-")
    assert toolchain.cached_path(PROGRAMS["buildah"]) != before
    assert toolchain.cached_path(PROGRAMS["nomad"]).name == f"nomad-{PROGRAMS['nomad'].version}"


def test_what_we_change_is_not_taken_from_path(tmp_path: Path) -> None:
    program = tmp_path / "buildah"
    program.write_text(f"#!/bin/sh\necho buildah version {PROGRAMS['buildah'].version}\n")
    program.chmod(0o755)
    environ = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    assert Toolchain(environ).find("buildah") is None
