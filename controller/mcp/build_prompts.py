"""Prompts for two workflows that people start by hand: mend a failed build, begin with builds."""

from __future__ import annotations

import json
from collections.abc import Sequence

import mcp_types as types

from controller.mcp import recent, refusal
from controller.mcp.offer import Context, Prompt, caller
from controller.operations import BY_NAME
from controller.service import Service
from controller.status.build import Status

_FIX = """\
The build {job_id} of this service failed. Mend it.

What is known is below. Go on like this:
1. If `fix_owner` is author: change the Dockerfile, the tests or the code that `dockerfile_line`, \
`command` and `error_lines` point at; commit and push. If it is operator: say what must be changed \
in the service or in Vault, and stop. If it is transient: build again unchanged.
2. Not clear yet? getLogs with `phase` and `search`, not the whole log.
3. submitJob with the same fields and a new idempotency_key; waitForJob until `final`; getFailure \
if it failed again. Stop after three attempts that fail for the same reason and say what you tried.
"""
_CONTAINERIZE = """\
Make the repository {repo_url} build into a container image, published at {registry_url}.

1. Look at the repository: language, how it is started, how it is tested, which port it serves.
2. Write a Dockerfile: base images by fully qualified name and tag, dependencies before sources so \
that layers are reused, several stages if there is something to compile, a user that is not root, \
an ENTRYPOINT; and a .dockerignore. No secrets in it. Commit and push.
3. checkJob with the fields of the build: it finds mistakes without building.
4. submitJob with `test.commands` that prove that the image works (they run in the image without \
network) and an idempotency_key; waitForJob until `final`.
5. If it failed: getFailure, mend, push, submitJob again. If it succeeded: answer with the image's \
reference by digest, and how to run it.
"""


def of(service: Service) -> list[Prompt]:
    """The prompts."""
    return [_fix_failed_build(service), _containerize_repository()]


def _fix_failed_build(service: Service) -> Prompt:
    async def get(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        given = _arguments(params, "job_id")
        with refusal.as_json_rpc():
            failure = await BY_NAME["getFailure"].run(service, given, caller(context))
        if not failure["failed"]:
            text = f"The build {failure['job_id']} has not failed: {json.dumps(failure)}"
            return _says(text)
        known = types.TextResourceContents(
            uri=f"build://{failure['job_id']}/outcome",
            text=json.dumps(failure, ensure_ascii=False, indent=1),
            mime_type="application/json",
        )
        return _says(_FIX.format(job_id=failure["job_id"]), types.EmbeddedResource(resource=known))

    async def complete(context: Context, argument: str, value: str) -> Sequence[str]:
        if argument != "job_id":
            return ()
        with refusal.as_json_rpc():
            return await recent.job_ids(service, caller(context), value, status=Status.FAILED)

    return Prompt(
        types.Prompt(
            name="fix_failed_build",
            title="Mend a failed build",
            description="Why a build failed, and the steps to mend it and build again.",
            arguments=[
                types.PromptArgument(
                    name="job_id", description="The failed build's job_id.", required=True
                )
            ],
        ),
        get,
        complete,
    )


def _containerize_repository() -> Prompt:
    async def get(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        given = _arguments(params, "repo_url", "registry_url")
        return _says(_CONTAINERIZE.format(**given))

    return Prompt(
        types.Prompt(
            name="containerize_repository",
            title="Containerize a repository",
            description="Write a Dockerfile for a repository, then build, test and publish it.",
            arguments=[
                types.PromptArgument(
                    name="repo_url", description="The Git repository, HTTPS or SSH.", required=True
                ),
                types.PromptArgument(
                    name="registry_url",
                    description="Registry and repository to publish to, such as "
                    "registry.example.com/team/app.",
                    required=True,
                ),
            ],
        ),
        get,
    )


def _arguments(params: types.GetPromptRequestParams, *names: str) -> dict[str, str]:
    given = params.arguments or {}
    missing = [name for name in names if not given.get(name)]
    unknown = sorted(given.keys() - set(names))
    if missing or unknown:
        raise refusal.invalid(
            f"prompt {params.name}: "
            + "; ".join(
                [f"argument {name} is missing" for name in missing]
                + [f"argument {name[:80]} is not known" for name in unknown]
            ),
            f"give {' and '.join(names)}",
        )
    return {name: given[name] for name in names}


def _says(text: str, *more: types.ContentBlock) -> types.GetPromptResult:
    blocks: list[types.ContentBlock] = [types.TextContent(text=text), *more]
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=block) for block in blocks]
    )
