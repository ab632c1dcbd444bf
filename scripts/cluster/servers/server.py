"""What all servers of the cluster have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from ..account import Account
from ..paths import REPOSITORY, StateDirectory
from ..ports import Ports
from ..process import MARK, Process
from ..waiting import wait_for

AGENT_TEMPLATES = REPOSITORY / "nomad" / "agent"


@dataclass(frozen=True)
class Surroundings:
    """What a server needs to know of the cluster: its directories and its ports."""

    state: StateDirectory
    ports: Ports


class Server(ABC):
    """One real server: a process, a configuration file and a readiness condition."""

    name: str
    ready_seconds: float = 30

    def __init__(self, surroundings: Surroundings, account: Account) -> None:
        self.state = surroundings.state
        self.ports = surroundings.ports
        self.account = account
        self.process = Process(self.name, self.state.processes, self.state.log(self.name))

    @abstractmethod
    def prepare(self) -> Sequence[str]:
        """Write configuration and data directories; return the command line."""

    @abstractmethod
    def ready(self) -> bool:
        """Say whether the server answers as it must; OSError means not yet."""

    def after_ready(self) -> None:  # noqa: B027 - most servers need nothing here
        """Do what must follow each start, such as unsealing."""

    @property
    def alive(self) -> bool:
        """Say whether the server's process lives."""
        return self.process.pid is not None

    def start(self) -> bool:
        """Bring the server up unless it is; return whether a process was started."""
        started = False
        if not self.alive:
            argv = self.prepare()
            self.process.start(
                argv, account=self.account, environ=self.environ(), directory=self.state.root
            )
            started = True
        wait_for(
            f"{self.name} ready",
            lambda: self.process.require_alive() and self.ready(),
            seconds=self.ready_seconds,
            log=self.process.log,
        )
        self.after_ready()
        return started

    def stop(self, *, seconds: float = 10) -> None:
        """End the server in good order; it is killed after `seconds`."""
        self.process.stop(seconds=seconds)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self.process.stop(force=True)

    def restart(self) -> None:
        """Stop the server and bring it up again, with the same data and ports."""
        self.stop()
        self.start()

    def environ(self) -> dict[str, str]:
        """Return a clean environment.

        Nothing of the caller's leaks into tasks: raw_exec tasks inherit the agent's
        environment, and a variable such as AWS_CA_BUNDLE keeps Nomad from starting.
        """
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.state.root),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.state.temporary),
            MARK: str(self.state.root),
        }

    def data_directory(self, mode: int = 0o700) -> Path:
        """Make and return the server's data directory, owned by its account."""
        path = self.state.data(self.name)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        self.account.own(path)
        return path

    def render(self, template: str, **values: object) -> Path:
        """Render `nomad/agent/TEMPLATE.j2` into the config directory and return the file."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(AGENT_TEMPLATES),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        text = environment.get_template(template + ".j2").render(**values)
        return self.write_config(template, text)

    def write_config(self, name: str, text: str) -> Path:
        """Write a configuration file that only this server's account (and root) can read."""
        path = self.state.config / name
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        self.account.own(temporary)
        temporary.replace(path)
        return path
