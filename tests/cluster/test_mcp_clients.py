"""The clients that people have: each submits a real build, waits, and reads why it failed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Builds
from controllers import REPOSITORY, Serving, serving
from mcp.client import Client

from cluster.cluster import Cluster
from cluster.node_packages import NodePackages, install

# Each of them takes more than ten seconds, or starts programs that do.
pytestmark = pytest.mark.slow

INSPECTOR = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"


@pytest.fixture(scope="module")
def served(
    cluster: Cluster, controller_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    with serving(cluster, tmp_path_factory.mktemp("controller")) as one:
        yield one


@pytest.fixture(scope="module")
def packages() -> NodePackages:
    return install()


@pytest.fixture
def failing(builds: Builds) -> dict[str, Any]:
    """A request whose build fails at a step that says why."""
    repository = builds.dockerfile("RUN echo building", "RUN echo no such colour >&2 && exit 7")
    return builds.request(repository)


def assert_told(seen: dict[str, Any]) -> None:
    """Whoever asked knows what is wrong."""
    assert {"submitJob", "waitForJob", "getFailure"} <= set(seen["tools"])
    assert "fix_failed_build" in seen["prompts"]
    assert seen["status"] == "FAILED"
    failure = seen["failure"]
    assert (failure["job_id"], failure["failed"]) == (seen["job_id"], True)
    assert failure["phase"] == "build"
    assert failure["exit_code"] == 7
    assert failure["dockerfile_line"] == 3
    assert "no such colour" in json.dumps(failure)
    assert seen["outcome"]["failure"]["reason"] == failure["reason"]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_the_python_sdk(served: Serving, failing: dict[str, Any], mode: Any) -> None:
    async def use() -> dict[str, Any]:
        progress: list[float] = []

        async def told(done: float, total: float | None, message: str | None) -> None:
            progress.append(done)

        async with Client(f"{served.address}/mcp", mode=mode) as client:

            async def call(name: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
                result = await client.call_tool(name, given, **more)
                assert not result.is_error, result
                assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
                document: dict[str, Any] = result.structured_content
                return document

            tools = [tool.name for tool in (await client.list_tools()).tools]
            prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
            job_id = (await call("submitJob", failing))["job_id"]
            waited: dict[str, Any] = {"final": False, "cursor": None}
            while not waited["final"]:
                given = {"job_id": job_id, "after": waited["cursor"], "timeout": 20}
                waited = await call("waitForJob", given, progress_callback=told)
            failure = await call("getFailure", {"job_id": job_id})
            outcome = await client.read_resource(f"build://{job_id}/outcome")
            assert progress == sorted(set(progress))
            assert progress
            return {
                "tools": tools,
                "prompts": prompts,
                "job_id": job_id,
                "status": waited["status"],
                "failure": failure,
                "outcome": json.loads(outcome.contents[0].text),  # type: ignore[union-attr]
            }

    assert_told(asyncio.run(use()))


@pytest.mark.parametrize("sdk", ["v1", "v2", "v2-modern"])
def test_the_typescript_sdk(
    served: Serving, failing: dict[str, Any], packages: NodePackages, sdk: str, tmp_path: Path
) -> None:
    # Node.js looks for packages beside the script: so it lies beside them.
    shutil.copy(REPOSITORY / "tests/conformance/clients/build.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages.root / "node_modules")
    done = subprocess.run(
        [
            *(packages.node, "--preserve-symlinks", "build.mjs", sdk),
            *(f"{served.address}/mcp", json.dumps(failing)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert_told(seen)
    assert seen["progress"] == sorted(set(seen["progress"]))
    assert seen["progress"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector(
    served: Serving, failing: dict[str, Any], packages: NodePackages, era: str, tmp_path: Path
) -> None:
    def inspect(method: str, *arguments: str) -> Any:
        done = subprocess.run(
            [
                *(packages.node, packages.module(INSPECTOR), "--cli"),
                *("--server-url", f"{served.address}/mcp", "--transport", "http"),
                *("--protocol-era", era, "--method", method, "--format", "json", "--quiet"),
                *arguments,
            ],
            env={"PATH": str(packages.node.parent), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        # 5: the tool's result says that it is an error.
        assert done.returncode in (0, 5), done.stdout + done.stderr
        result = json.loads(done.stdout)["result"]
        assert bool(result.get("isError")) == (done.returncode == 5)
        return result

    def call(name: str, **given: Any) -> dict[str, Any]:
        result = inspect("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(given))
        document: dict[str, Any] = result["structuredContent"]
        return document

    # --strict: it finds nothing in the schemas that some client could not read.
    tools = [tool["name"] for tool in inspect("tools/list", "--strict")["tools"]]
    prompts = [prompt["name"] for prompt in inspect("prompts/list")["prompts"]]
    submitted = call("submitJob", **failing)
    job_id = submitted["job_id"]
    # In the present revision the Inspector declares the extension for tasks: it gets one, follows
    # it to its end, and shows the task's result, which is the failure.
    assert submitted["status"] == ("PENDING" if era == "legacy" else "FAILED")
    assert ("no such colour" in json.dumps(submitted)) == (era == "modern")
    waited = call("waitForJob", job_id=job_id, timeout=40)
    read = inspect("resources/read", "--uri", f"build://{job_id}/outcome")
    assert_told(
        {
            "tools": tools,
            "prompts": prompts,
            "job_id": job_id,
            "status": waited["status"],
            "failure": call("getFailure", job_id=job_id),
            "outcome": json.loads(read["contents"][0]["text"]),
        }
    )
