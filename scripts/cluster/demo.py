"""`scripts/demo`: the main job as one command, from nothing to a published image."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import sample
from .cluster import Cluster
from .errors import ClusterError
from .paths import StateDirectory, cache_directory, default_state_directory
from .submission import Controller


class Report:
    """Progress for people on stdout, or nothing but one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """Print one line for people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Print the stage's title with its time when it is done; name it when it fails."""
        began = time.monotonic()
        try:
            yield
        except ClusterError as error:
            raise ClusterError(f"{title}: {error}") from error
        self.say(f"{title}: {time.monotonic() - began:.1f} s")


def run(root: Path, report: Report) -> dict[str, Any]:
    """Bring everything up, build the sample, run its image; return what came out."""
    began = time.monotonic()
    cluster = Cluster.start(root, progress=report.say)
    with report.stage("sample project on the Git server"):
        build_json = sample.put_in_place(cluster)
    with report.stage("nomad-pack run"):
        address = cluster.pack.deploy()
    report.say(f"controller at {address}")
    controller = Controller(address)
    submitted = time.monotonic()
    job_id = controller.submit(json.loads(build_json.read_text()))
    report.say(f"submitted {build_json} as {job_id}\n")
    follow(controller, job_id, report)
    status = controller.wait_ended(job_id, seconds=60)
    took = time.monotonic() - submitted
    if status["status"] != "SUCCEEDED":
        raise ClusterError(describe_failure(status))
    reference, digest = str(status["image"]), str(status["digest"])
    report.say("")
    with report.stage("image pulled back and run"):
        lines = run_image(cluster, digest)
    for line in lines:
        report.say(f"  {line}")
    report.say(next_steps(cluster, address, build_json))
    pinned = f"{reference.partition('@')[0]}@{digest}"
    report.say(f"published {pinned} in {took:.1f} s")
    return {
        "job_id": job_id,
        "image": pinned,
        "commit": status.get("commit"),
        "build_seconds": round(took, 2),
        "total_seconds": round(time.monotonic() - began, 2),
        "address": address,
    }


def follow(controller: Controller, job_id: str, report: Report) -> None:
    """Print the live log, each line behind the phase it belongs to."""
    for line in controller.follow(job_id):
        report.say(f"{line.phase:>8} | {line.message}")


def run_image(cluster: Cluster, digest: str) -> list[str]:
    """Run the published image's own check in a fresh container; return what it printed."""
    reference = f"{cluster.registry.host}/demo/{sample.NAME}@{digest}"
    result = cluster.buildah.run_image(cluster.registry.credentials, reference, ["test-site"])
    if result.exit_code != 0:
        raise ClusterError(f"{reference} ended with {result.exit_code}:\n{result.output}")
    return result.output.splitlines()


def describe_failure(status: dict[str, Any]) -> str:
    """Return a failed build's reason in a few lines."""
    failure = status.get("failure") or {}
    lines = [f"the build ended {status['status']}"]
    if failure:
        lines.append(
            f"  in phase {failure.get('phase')}: {failure.get('reason')}: {failure.get('message')}"
        )
        lines += [f"  {line}" for line in failure.get("log_tail") or []]
        if failure.get("hint"):
            lines.append(f"  {failure['hint']}")
    return "\n".join(lines)


def next_steps(cluster: Cluster, address: str, build_json: Path) -> str:
    """Return what a person can do with the running cluster."""
    command = sys.argv[0] if sys.argv[0].endswith("demo") else "scripts/demo"
    return f"""
What now:
  the shell's settings   eval "$({command} env)"
  submit your own        edit a copy of {build_json}, then
                         curl -sS -H 'Content-Type: application/json' \\
                           -d @build.json $NBS_ADDR/mcp/submitJob
  from the Nomad CLI     nomad job dispatch -meta pack.deployment_name= image-build build.json
  controller             {address}
  Nomad, Consul, Vault   {cluster.nomad.address}  {cluster.consul.address}  {cluster.vault.address}
  registry, Git          {cluster.registry.address}  {cluster.git_http.address}/git/
  logs                   {cluster.state.logs}
  take it all down       {command} down
"""


def env(root: Path, report: Report) -> dict[str, Any]:
    """Print the shell's exports for the running cluster."""
    cluster = Cluster.attach(root)
    if not report.as_json:
        report.say(cluster.shell_exports().rstrip("\n"))
    return dict(cluster.env())


def status(root: Path, report: Report) -> dict[str, Any]:
    """Say of each server whether it runs; fails when one does not."""
    state = StateDirectory(root)
    if not state.marker.exists():
        raise ClusterError(f"no cluster in {root}; scripts/demo starts one")
    cluster = Cluster(root)
    result: dict[str, Any] = {"state_dir": str(root), "servers": {}}
    for server in cluster.servers:
        pid = server.process.pid
        result["servers"][server.name] = {"pid": pid, "log": str(server.process.log)}
        report.say(f"{server.name:10} {f'running, pid {pid}' if pid else 'NOT RUNNING'}")
    address = cluster.pack.controller_address() if cluster.consul.alive else None
    result["controller"] = address
    report.say(f"{'controller':10} {address or 'not registered'}")
    return result


def down(root: Path, report: Report) -> dict[str, Any]:
    """Remove every process and file of the cluster in `root`."""
    state = StateDirectory(root)
    if not root.exists():
        report.say(f"nothing to take down: there is no {root}")
        return {"removed": None}
    if not state.marker.exists():
        raise ClusterError(f"{root} is not a cluster's state directory; nothing was removed")
    Cluster(root, progress=report.say).stop()
    report.say(f"removed {root} and every process of it; downloads stay in {cache_directory()}")
    return {"removed": str(root)}


COMMANDS: dict[str, Callable[[Path, Report], dict[str, Any]]] = {
    "run": run,
    "env": env,
    "status": status,
    "down": down,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="demo", description="The build service with every server it needs, on loopback."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=COMMANDS,
        default="run",
        help="run (default): bring up and build the sample; env: shell exports;"
        " status: what runs; down: remove everything",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    values = parser.parse_args(arguments)
    report = Report(as_json=values.json)
    root = default_state_directory()
    # Loopback servers are never behind a proxy, whatever the surroundings say.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
        filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"))
    )
    try:
        result = COMMANDS[values.command](root, report)
    except ClusterError as error:
        logs = StateDirectory(root).logs
        print(f"\n{error}" + (f"\n\nlogs: {logs}" if logs.exists() else ""), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted; scripts/demo continues, scripts/demo down removes it", file=sys.stderr
        )
        return 130
    if values.json:
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
