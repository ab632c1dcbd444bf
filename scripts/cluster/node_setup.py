"""Preparing a build node: `scripts/node-setup`. Standard library only.

The command is a list of steps; each says what it lacks, and can bring it about. `--check` asks
all of them and changes nothing; without it, what is lacking is done, so that a second run
changes nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import host_accounts, host_kernel, host_packages, installation
from .errors import ClusterError
from .paths import REPOSITORY, cache_directory
from .toolchain import Toolchain

DEMO_USER = "nbs-demo"
DEFAULT_STORAGE = Path("/var/lib/nomad-build-service/storage")
SECCOMP = REPOSITORY / "packs" / "nomad_build_service" / "seccomp.json"
IMAGE_UID = 1000
"""User `build` of the image (nomad/image/Dockerfile)."""


@dataclass(frozen=True)
class Step:
    """One thing a node must have: what is lacking of it (in words), and how to bring it."""

    title: str
    lacking: Callable[[], list[str]]
    do: Callable[[], None]


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    user: str
    prefix: Path
    storage: Path
    demo_servers: bool
    emulation: bool
    controller: bool
    syft: bool
    host_only: bool
    docker: bool
    check: bool
    quiet: bool


def steps(options: Options) -> list[Step]:
    """Return the steps in the order in which they must be done."""
    if options.docker:
        return _docker_steps(options)
    packages = host_packages.NODE_PACKAGES + host_packages.BUILD_PACKAGES
    if options.demo_servers:
        packages += host_packages.DEMO_PACKAGES
    if options.emulation:
        packages += host_packages.EMULATION_PACKAGES
    result = [
        Step(
            "Debian packages",
            lambda: [package.name for package in host_packages.absent(packages)],
            lambda: host_packages.install(host_packages.absent(packages)),
        ),
        _user_step(options.user),
    ]
    if options.demo_servers and options.user == "build":
        result.append(
            Step(
                f"user {DEMO_USER} (the demo's registry and Git servers)",
                lambda: [] if host_accounts.exists(DEMO_USER) else [DEMO_USER],
                lambda: host_accounts.make_user(DEMO_USER, shell="/bin/sh", home=None),
            )
        )
    result += [
        *_kernel_steps(),
        Step(
            f"namespaces as user {options.user}",
            lambda: _namespaces_lacking(options.user),
            lambda: _refuse_namespaces(options.user),
        ),
    ]
    if not options.host_only:
        result.append(
            Step(
                f"storage for layers and caches in {options.storage}",
                lambda: _storage_lacking(options),
                lambda: _make_storage(options),
            )
        )
        result.append(
            Step(
                f"installation in {options.prefix}",
                lambda: installation.missing(options.prefix, controller=options.controller),
                lambda: _install(options),
            )
        )
        syft = options.prefix / "bin" / "syft"
        if options.syft:
            result.append(
                Step(
                    f"Syft in {options.prefix}",
                    lambda: [] if os.access(syft, os.X_OK) else [str(syft)],
                    lambda: installation.install_syft(options.prefix),
                )
            )
    return result


def _kernel_steps() -> list[Step]:
    return [
        Step(
            "/dev/net/tun open to every user",
            lambda: [] if host_kernel.tun_is_open() else ["/dev/net/tun with mode 0666"],
            host_kernel.open_tun,
        ),
        Step(
            "kernel settings for user namespaces",
            lambda: [f"{name}={value}" for name, value in host_kernel.wrong_sysctls().items()],
            lambda: host_kernel.set_sysctls(host_kernel.wrong_sysctls()),
        ),
    ]


def _docker_steps(options: Options) -> list[Step]:
    """What a node with driver docker must have beside its engine: programs are in the image."""
    profile = options.prefix / SECCOMP.name

    def place() -> None:
        options.prefix.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SECCOMP, profile)
        profile.chmod(0o644)

    def lacking() -> list[str]:
        same = profile.exists() and profile.read_bytes() == SECCOMP.read_bytes()
        return [] if same else [str(profile)]

    return [
        *_kernel_steps(),
        Step(
            f"storage for layers and caches in {options.storage}",
            lambda: _storage_lacking(options),
            lambda: _make_storage(options),
        ),
        Step("seccomp profile of the pack", lacking, place),
    ]


def _storage_lacking(options: Options) -> list[str]:
    try:
        owner = options.storage.stat().st_uid
    except OSError:
        return [str(options.storage)]
    if options.docker:
        return [] if owner == IMAGE_UID else [f"{options.storage} owned by uid {IMAGE_UID}"]
    if host_accounts.exists(options.user) and owner == _uid(options.user):
        return []
    return [f"{options.storage} owned by {options.user}"]


def _make_storage(options: Options) -> None:
    options.storage.mkdir(parents=True, exist_ok=True)
    if options.docker:
        os.chown(options.storage, IMAGE_UID, IMAGE_UID)
    else:
        shutil.chown(options.storage, options.user)
    options.storage.chmod(0o700)


def _user_step(user: str) -> Step:
    def lacking() -> list[str]:
        if not host_accounts.exists(user):
            return [user]
        files = (Path("/etc/subuid"), Path("/etc/subgid"))
        return [f"a range in {file}" for file in files if not host_accounts.has_range(user, file)]

    def do() -> None:
        if not host_accounts.exists(user):
            host_accounts.make_user(user, shell="/usr/sbin/nologin", home=f"/home/{user}")
        host_accounts.give_range(user)

    return Step(f"user {user} with subordinate ids", lacking, do)


def _namespaces_lacking(user: str) -> list[str]:
    if not host_accounts.exists(user):
        return [f"user {user}"]
    if os.geteuid() != 0 and os.getuid() != _uid(user):
        return []  # only root can try it as somebody else
    problem = host_kernel.namespaces_problem(user)
    return [problem] if problem else []


def _uid(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_uid


def _refuse_namespaces(user: str) -> None:
    problem = host_kernel.namespaces_problem(user)
    raise ClusterError(
        f"user {user} cannot make the namespaces that builds run in: {problem}. In a container,"
        " its runtime forbids them (seccomp or AppArmor profile); on a machine, see"
        " kernel.unprivileged_userns_clone and the LSM in use"
    )


def _install(options: Options) -> None:
    buildah = Toolchain(progress=say).obtain(["buildah"])["buildah"]
    installation.install_runner(options.prefix, buildah.path)
    if options.controller:
        installation.install_controller(options.prefix, cache=cache_directory())


def say(text: str) -> None:
    """Print one line for people on stderr."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 when nothing is lacking (any more), else 1."""
    options = parse(arguments)
    todo = [(step, lacking) for step in steps(options) if (lacking := step.lacking())]
    if options.check:
        for step, lacking in todo:
            if not options.quiet:
                say(f"missing: {step.title}: {', '.join(lacking)}")
        if not todo and not options.quiet:
            say("nothing is missing")
        return 1 if todo else 0
    if not todo:
        say("nothing to do: this node is prepared")
        return 0
    if os.geteuid() != 0:
        for step, lacking in todo:
            say(f"missing: {step.title}: {', '.join(lacking)}")
        say(f"only root can bring that about; run:\n\n  {root_command(options)}\n")
        return 1
    try:
        for step in steps(options):
            lacking = step.lacking()  # asked again: an earlier step may have brought it
            if lacking:
                say(f"{step.title}: {', '.join(lacking)}")
                step.do()
    except ClusterError as error:
        say(f"node-setup: {error}")
        return 1
    say("this node is prepared")
    return 0


def root_command(options: Options) -> str:
    """Return the command that prepares this machine, to be typed as it stands."""
    argv = ["sudo", str(REPOSITORY / "scripts" / "node-setup")]
    argv += ["--docker"] if options.docker else ["--user", options.user]
    if options.demo_servers:
        argv.append("--with-demo-servers")
    if options.emulation:
        argv.append("--with-emulation")
    if options.controller:
        argv.append("--with-controller")
    if options.syft:
        argv.append("--with-syft")
    if options.host_only:
        argv.append("--host-only")
    elif options.prefix != installation.DEFAULT_PREFIX:
        argv += ["--prefix", str(options.prefix)]
    if not options.host_only and options.storage != DEFAULT_STORAGE:
        argv += ["--storage", str(options.storage)]
    return shlex.join(argv)


def default_user() -> str:
    """Return whom builds run as: `build`, or an ordinary user for their own demo."""
    if os.geteuid() == 0:
        return "build"
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line; exits with usage on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="node-setup",
        description="Prepare a build node (Debian 12): packages, build user, devices, Buildah and"
        " the runner. Doing it twice changes nothing.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; say what is missing, exit code 1 if anything is",
    )
    parser.add_argument("--quiet", action="store_true", help="with --check: only the exit code")
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="who builds run as (default: build; made if it does not exist)",
    )
    parser.add_argument(
        "--prefix",
        type=Path,
        default=installation.DEFAULT_PREFIX,
        help="where Buildah and the runner go (default: %(default)s)",
    )
    parser.add_argument(
        "--storage",
        type=Path,
        default=DEFAULT_STORAGE,
        help="where layers and caches lie, the pack's storage_dir (default: %(default)s)",
    )
    parser.add_argument(
        "--with-controller",
        action="store_true",
        help="also install the controller there (driver raw_exec)",
    )
    parser.add_argument(
        "--with-syft",
        action="store_true",
        help="also install Syft there, so that images get a bill of materials",
    )
    parser.add_argument(
        "--with-demo-servers",
        action="store_true",
        help="also what scripts/demo and the tests need: registry, Git servers",
    )
    parser.add_argument(
        "--with-emulation",
        action="store_true",
        help="also what builds for other platforms than the node's need: QEMU's user mode",
    )
    parser.add_argument(
        "--host-only",
        action="store_true",
        help="prepare the machine, install nothing below the prefix",
    )
    parser.add_argument(
        "--docker",
        action="store_true",
        help="prepare a node for driver docker, which has its engine: devices, storage and the"
        " pack's seccomp profile; no package, no user",
    )
    values = parser.parse_args(arguments)
    return Options(
        user=values.user or default_user(),
        prefix=values.prefix.absolute(),
        storage=values.storage.absolute(),
        demo_servers=values.with_demo_servers,
        emulation=values.with_emulation,
        controller=values.with_controller,
        syft=values.with_syft,
        host_only=values.host_only,
        docker=values.docker,
        check=values.check,
        quiet=values.quiet,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClusterError as failure:
        sys.exit(f"node-setup: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
