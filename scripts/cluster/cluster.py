"""One embedded cluster: bring-up, use and removal.

    cluster = Cluster.start(state_directory)
    repository = cluster.create_git_repository("hello", {"Dockerfile": "…"})
    cluster.vault_put("nomad-build-service/git/hello", {"username": "…", "password": "…"})
    cluster.deploy_pack()
    cluster.stop()

`start` is idempotent: it reuses what lives and restarts what died, with the same ports,
passwords and data.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from . import git_repository, teardown
from .access import consul as access_consul
from .access import nomad as access_nomad
from .access import vault as access_vault
from .access.change import Wanted
from .account import Account, demo_account, task_account
from .buildah import BASE_IMAGE, Buildah
from .errors import ClusterError
from .git_repository import GitRepository, Source
from .http import get_json
from .installation import install_controller, install_runner
from .pack import Pack
from .paths import StateDirectory, cache_directory
from .ports import Ports
from .servers.consul import Consul
from .servers.docker import Docker
from .servers.git_http import GitHttp
from .servers.git_lfs import GitLfs
from .servers.git_ssh import GitSsh
from .servers.nomad import Nomad
from .servers.registry import Registry
from .servers.server import Server, Surroundings
from .servers.vault import Vault
from .toolchain import Found, Toolchain
from .waiting import wait_for

PROGRAMS = ("nomad", "nomad-pack", "consul", "vault", "buildah")

PULL_SECRET = "nomad-build-service/pull/base"
CACHE_SECRET = "nomad-build-service/cache/layers"
GIT_SECRET = "nomad-build-service/git/demo"
GIT_SSH_SECRET = "nomad-build-service/git/demo-ssh"
REGISTRY_SECRET = "nomad-build-service/registry/demo"
INTERMEDIATE_SECRET = "nomad-build-service/intermediate/demo"

Progress = Callable[[str], None]


class Cluster:
    """The servers of one state directory. Make it by `start` or `attach`."""

    def __init__(self, root: Path, *, progress: Progress = print) -> None:
        self.state = StateDirectory(root.absolute())
        self.state.require_short()
        self.progress = progress
        surroundings = Surroundings(self.state, Ports(self.state.root / "ports.json"))
        self.task_account: Account = task_account()
        owner, demo = Account.current(), demo_account()
        self.consul = Consul(surroundings, demo)
        self.vault = Vault(surroundings, demo)
        self.nomad = Nomad(
            surroundings,
            owner,
            consul=self.consul,
            vault_address=self.vault.address,
        )
        self.registry = Registry(surroundings, demo)
        self.git_http = GitHttp(surroundings, demo)
        self.git_lfs = GitLfs(surroundings, demo)
        self.git_ssh = GitSsh(surroundings, demo)
        self.docker = Docker(surroundings, owner)
        self.pack = Pack(self)
        self.buildah = Buildah(
            self.state.node / "bin" / "buildah", self.state.root / "images", self.task_account
        )

    @property
    def task_user(self) -> str:
        """Return the pack's `task_user`: empty where the agent itself is that user."""
        return "" if self.task_account.is_current else self.task_account.name

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers, in the order in which they start."""
        return (self.consul, self.vault, self.nomad, self.registry, self.git_http, self.git_ssh)

    @classmethod
    def start(cls, root: Path, *, progress: Progress = print) -> Cluster:
        """Bring up everything in `root` and return the running cluster."""
        prepare_directories(StateDirectory(root.absolute()))
        cluster = cls(root, progress=progress)
        with cluster._lock():
            cluster._start()
        return cluster

    @classmethod
    def attach(cls, root: Path, *, progress: Progress = print) -> Cluster:
        """Return the cluster that runs in `root`; ClusterError when there is none."""
        state = StateDirectory(root.absolute())
        if not state.marker.exists():
            raise ClusterError(f"no cluster in {root}; scripts/demo starts one")
        cluster = cls(root, progress=progress)
        dead = [server.name for server in cluster.servers if not server.alive]
        if dead:
            raise ClusterError(
                f"of the cluster in {root}, {', '.join(dead)} is not running; scripts/demo"
                " starts it again"
            )
        return cluster

    def _start(self) -> None:
        began = time.monotonic()
        programs = Toolchain(progress=self.progress).obtain(PROGRAMS)
        for found in programs.values():
            place_program(self.state.bin, found)
        self.progress(f"programs ready in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        self.install(programs["buildah"].path)
        self.progress(f"runner and controller installed in {time.monotonic() - began:.1f} s")
        for server in self.servers:
            began = time.monotonic()
            word = "started" if server.start() else "already running"
            took = time.monotonic() - began
            self.progress(f"{server.name} {word} in {took:.1f} s, log {server.process.log}")
        self._set_up_access()
        self._put_secrets()
        repository, _, tag = BASE_IMAGE.partition(":")
        if tag not in self.registry.tags(repository):
            began = time.monotonic()
            self.buildah.make_base_image(self.registry.credentials)
            self.progress(f"base image made in {time.monotonic() - began:.1f} s")

    def install(self, buildah: Path) -> None:
        """Bring the installation prefix up to date with this repository."""
        install_runner(self.state.node, buildah)
        install_controller(self.state.node, cache=cache_directory())
        link = self.state.bin / "nbs"
        link.unlink(missing_ok=True)
        link.symlink_to(self.state.node / "bin" / "nbs")

    def _set_up_access(self) -> None:
        """Apply policies and roles in Nomad, Vault and Consul, as operators do."""
        wanted = Wanted(jwks_url=f"{self.nomad.address}/.well-known/jwks.json")
        # Just after its first start Nomad may not have its signing key yet, and Vault asks.
        wait_for(
            "Nomad publishes its signing keys",
            lambda: self._jwks_ready(wanted.jwks_url),
            seconds=30,
        )
        acl = access_consul.ConsulAcl(self.consul.address, self.consul.management_token)
        for plan in (
            access_nomad.plan(self.nomad.client(), wanted),
            access_vault.plan(self.vault.client(), wanted),
            access_consul.plan(acl, wanted),
        ):
            for change in plan:
                change.make()

    def _put_secrets(self) -> None:
        """Put the demo's own credentials into Vault."""
        login = {"username": self.registry.username, "password": self.registry.password}
        self.vault_put(PULL_SECRET, {**login, "registry": self.registry.host})
        self.vault_put(CACHE_SECRET, {**login, "registry": self.registry.host})
        self.vault_put(REGISTRY_SECRET, login)
        self.vault_put(INTERMEDIATE_SECRET, login)
        self.vault_put(
            GIT_SECRET, {"username": self.git_http.username, "password": self.git_http.password}
        )
        self.vault_put(
            GIT_SSH_SECRET,
            {
                "ssh_key": self.git_ssh.client_key.read_text(),
                "known_hosts": self.git_ssh.known_hosts,
            },
        )

    @staticmethod
    def _jwks_ready(url: str) -> bool:
        return bool(get_json(url).get("keys"))

    def vault_put(self, path: str, values: Mapping[str, str]) -> None:
        """Write `values` at `path` (below the mount, as `nomad-build-service/git/x`)."""
        client = self.vault.client()
        kv = client.secrets.kv.v2
        with contextlib.suppress(Exception):
            if kv.read_secret_version(path, raise_on_deleted_version=True)["data"]["data"] == dict(
                values
            ):
                return
        kv.create_or_update_secret(path=path, secret=dict(values))

    def create_git_repository(
        self, name: str, source: Source, *, private: bool = True
    ) -> GitRepository:
        """Make (or replace) a repository with one commit on `main` and return it.

        A private one wants the password over HTTP; over SSH every repository wants the key.
        """
        kind = "private" if private else "public"
        return git_repository.create(
            name,
            source,
            bare=self.state.data("git") / kind / f"{name}.git",
            http_url=self.git_http.url(name, private=private),
            ssh_url=self.git_ssh.url(name, private=private),
            account=self.git_http.account,
        )

    @property
    def base_image(self) -> str:
        """Return the reference of the busybox base image in the cluster's registry."""
        return f"{self.registry.host}/{BASE_IMAGE}"

    def env(self) -> dict[str, str]:
        """Return what a shell needs to use the cluster's servers with their own programs."""
        variables = {
            "NBS_STATE_DIR": str(self.state.root),
            "NOMAD_ADDR": self.nomad.address,
            "NOMAD_TOKEN": self.nomad.management_token,
            "CONSUL_HTTP_ADDR": self.consul.address,
            "CONSUL_HTTP_TOKEN": self.consul.management_token,
            "VAULT_ADDR": self.vault.address,
            "VAULT_TOKEN": self.vault.root_token,
            "VAULT_CACERT": str(self.state.cacert),
            "NBS_REGISTRY": self.registry.host,
            "NBS_REGISTRY_USERNAME": self.registry.username,
            "NBS_REGISTRY_PASSWORD": self.registry.password,
            "NBS_BASE_IMAGE": self.base_image,
        }
        address = self.pack.controller_address()
        if address:
            variables["NBS_ADDR"] = address
        sample = self.state.root / "sample" / "build.json"
        if sample.exists():
            variables["NBS_SAMPLE"] = str(sample)
        return variables

    def shell_exports(self) -> str:
        """Return `env()` as lines for `eval`, with the cluster's programs first on PATH."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.env().items()]
        lines.append(f'export PATH={shlex.quote(str(self.state.bin))}:"$PATH"')
        return "\n".join(lines) + "\n"

    def stop(self) -> None:
        """End every process, undo every mount, remove every file of this cluster."""
        with self._lock():
            if self.nomad.alive:
                with contextlib.suppress(OSError, ClusterError):
                    # A build that hangs must not keep the cluster: what is left is killed below.
                    self.nomad.stop_jobs(seconds=20)
            allocations = {path.name for path in self.state.allocations.glob("*-*-*-*-*")}
            for server in reversed((self.docker, *self.servers)):
                server.stop()
            teardown.kill_remaining_processes(self.state.root)
            teardown.unmount_all(self.state.root)
            before = json.loads(self.state.marker.read_text()).get("cgroups_before", [])
            if os.geteuid() == 0:
                teardown.remove_nomad_cgroups(allocations, before)
            teardown.remove_files(self.state)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.state.root / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress(f"another command works on {self.state.root}; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def prepare_directories(state: StateDirectory) -> None:
    """Make the state directory and its parts, with who may look into which."""
    state.require_short()
    root = state.root
    if root.exists() and any(root.iterdir()) and not state.marker.exists():
        raise ClusterError(
            f"{root} is not empty and is not a cluster's state directory; set NBS_STATE_DIR to"
            " another one"
        )
    root.mkdir(parents=True, exist_ok=True)
    if not state.marker.exists():
        marker = {"id": str(uuid.uuid4()), "cgroups_before": sorted(teardown.nomad_cgroups())}
        state.marker.write_text(json.dumps(marker) + "\n")
    for path, mode in (
        (root, 0o755),
        (state.bin, 0o755),
        (state.config, 0o711),
        (state.logs, 0o755),
        (root / "data", 0o711),
        (state.processes, 0o755),
        (state.secrets, 0o700),
        (state.storage, 0o700),
        (state.temporary, 0o1777),
        (root / "images", 0o700),
    ):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    account = task_account()
    for path in (state.storage, root / "images"):
        account.own(path)


def place_program(directory: Path, found: Found) -> None:
    """Put a program into `directory`: a hard link of the cached file, or a symbolic link."""
    target = directory / found.program.name
    temporary = directory / f".{found.program.name}.new"
    temporary.unlink(missing_ok=True)
    if found.source == "PATH":
        temporary.symlink_to(found.path)
    else:
        try:
            os.link(found.path, temporary)
        except OSError:
            shutil.copy2(found.path, temporary)
    temporary.replace(target)
