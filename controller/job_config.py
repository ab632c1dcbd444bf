"""The request for a build as a pydantic model: the one place where its fields are defined.

From it comes `controller/contract/job_config.schema.json` (`python -m controller.job_config` writes
it), which drives the validation of every door, the tool schema and the reference. What a value may
be is in `controller.contract.fields`; here is which field takes which kind.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import core_schema

from controller.contract import request
from controller.contract.json_schema import validate

SCHEMA_PATH = Path(__file__).parent / "contract" / "job_config.schema.json"


@dataclass(frozen=True)
class Kind:
    """What a field may hold, as JSON Schema; the contract's validator checks it here as there."""

    format: str
    most: int
    types: tuple[str, ...] = ("string",)
    items: tuple[tuple[str, Any], ...] = ()

    def schema(self) -> dict[str, Any]:
        """The field's JSON Schema."""
        kind = self.types[0] if len(self.types) == 1 else list(self.types)
        return {"type": kind, "format": self.format, "maxLength": self.most, **dict(self.items)}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.schema()

    def _check(self, value: Any) -> Any:
        normal, problems = validate(self.schema(), value, {})
        if problems:
            raise ValueError(f"{problems[0].problem}; {problems[0].fix}")
        return normal


_WORDS = (("items", {"type": "string"}), ("maxItems", 256))
_EITHER = ("string", "integer")
Command = Annotated[str | list[str], Kind("command", 8192, ("string", "array"), _WORDS)]
EnvName = Annotated[str, Kind("env-name", 128)]
Text = Annotated[str, Kind("text", 8192)]
Line = Annotated[str, Kind("line", 4096)]
LabelValue = Annotated[str, Kind("label-value", 4096)]
VaultPath = Annotated[str, Kind("vault-path", 512)]
SecretId = Annotated[str, Kind("secret-id", 128)]
BuildSecret = Annotated[str, Kind("build-secret", 640)]
BuildSshKey = Annotated[str, Kind("build-ssh-key", 512)]
HeaderName = Annotated[str, Kind("webhook-header", 64)]
HeaderValue = Annotated[str, Kind("webhook-value", 512)]
Timespan = Annotated[int, Kind("timespan", 32, _EITHER)]
Megahertz = Annotated[int, Kind("megahertz", 32, _EITHER)]
Megabytes = Annotated[int, Kind("megabytes", 32, _EITHER)]


class Strict(BaseModel):
    """A document that callers send: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=False)


class Limits(Strict):
    """What a build, or one phase of it, needs; it selects the build class."""

    cpu: Megahertz | None = Field(None, description="CPU in MHz.", examples=[2000])
    memory: Megabytes | None = Field(None, description="Memory in MB.", examples=[2048])
    disk: Megabytes | None = Field(None, description="Disk in MB.", examples=[10240])


class ResourceLimits(Limits):
    """Limits for the whole build, and for single phases."""

    build: Limits | None = Field(None, description="Limits of phase build only.")
    test: Limits | None = Field(None, description="Limits of phase test only.")
    publish: Limits | None = Field(None, description="Limits of phase publish only.")


class Test(Strict):
    """How the built image is tested before it is published."""

    commands: list[Command] = Field(
        default=[],
        max_length=64,
        examples=[["pytest -q", ["/app/check", "--all"]]],
        description="Commands run inside the built image, each in a fresh container. A string runs "
        "as `sh -c STRING` in the image; a list of words runs as it is.",
    )
    entry_point: bool = Field(
        False, description="Also run the image's own entry point; it must exit with 0."
    )
    env: dict[EnvName, Text] = Field(
        default={},
        max_length=128,
        examples=[{"LOG_LEVEL": "debug"}],
        description="Environment of the test commands. It is stored with the job: no secrets.",
    )
    keep_going: bool = Field(
        False,
        description="Run every command though one has failed; the failure then names them all. "
        "Otherwise the first that fails is the last that runs.",
    )
    processes: int = Field(
        4096,
        ge=256,  # fewer are not enough for the threads of Buildah, which starts the command
        le=4096,
        description="Processes and threads that one command may have at the same time.",
    )
    network: Literal["none", "egress"] = Field(
        "none", description="`none`: only loopback. `egress`: the public network, no private one."
    )
    timeout: Timespan | None = Field(
        None, examples=["10m"], description="Time for all test commands together."
    )


class AdditionalRepository(Strict):
    """One more repository that the image is published to."""

    image: Annotated[str, Kind("image-repository", 255)] = Field(
        examples=["registry.example.org/mirror/app"], description="Registry and repository."
    )
    registry_credentials_path: VaultPath | None = Field(
        None,
        examples=["secret/nomad-build-service/registry/mirror"],
        description="Vault path of username and password to push with.",
    )


class JobConfig(Strict):
    """A build: which repository at which ref, how to test it, and where to publish the image."""

    owner: Annotated[str, Kind("owner", 128)] = Field(
        examples=["team-web"],
        description="Who the build belongs to: a person, team or agent. "
        "Leave it out where your credential says it.",
    )
    repo_url: Annotated[str, Kind("git-url", 2048)] = Field(
        examples=["https://git.example.com/team/app.git"],
        description="The Git repository, over HTTPS or SSH, without credentials in the URL.",
    )
    git_ref: Annotated[str, Kind("git-ref", 255)] = Field(
        "main",
        examples=["main"],
        description="Branch, tag or commit. Only a full commit names the same source for ever.",
    )
    patch: Annotated[str, Kind("patch", 262144)] | None = Field(
        None,
        examples=[
            "diff --git a/app.py b/app.py\n--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-1\n+2\n"
        ],
        description="Changes on top of git_ref that are not pushed: what `git diff --binary` "
        "prints. The image is labelled with it; the owner's protected tags are closed to it.",
    )
    git_credentials_path: VaultPath | None = Field(
        None,
        examples=["secret/nomad-build-service/git/team-web"],
        description="Vault path of username and password, or ssh_key, to fetch the repository.",
    )
    dockerfile_path: Annotated[str, Kind("file-path", 1024)] = Field(
        "Dockerfile",
        examples=["Dockerfile"],
        description="The Dockerfile, relative to the repository's root.",
    )
    context_path: Annotated[str, Kind("directory-path", 1024)] = Field(
        ".", examples=["."], description="The build context, relative to the repository's root."
    )
    target: Annotated[str, Kind("stage", 128)] | None = Field(
        None, examples=["runtime"], description="Build up to this stage of the Dockerfile."
    )
    build_args: dict[EnvName, Line] = Field(
        default={},
        max_length=128,
        examples=[{"VERSION": "1.4.0"}],
        description="Values for the Dockerfile's ARG. They stay in the image: no secrets.",
    )
    build_secrets: dict[SecretId, BuildSecret] = Field(
        default={},
        max_length=32,
        examples=[{"npm": "secret/nomad-build-service/build/team-web/npm#token"}],
        description="Secrets for `RUN --mount=type=secret,id=ID`, as ID: VAULT_PATH#FIELD. RUN "
        "steps can read them; no layer, log or record holds them.",
    )
    build_ssh: dict[SecretId, BuildSshKey] = Field(
        default={},
        max_length=8,
        examples=[{"default": "secret/nomad-build-service/build/team-web/ssh"}],
        description="SSH keys for `RUN --mount=type=ssh,id=ID`, as ID: VAULT_PATH of a secret with "
        "ssh_key. RUN steps can use the agent; they never see the key.",
    )
    labels: dict[Annotated[str, Kind("label-key", 255)], LabelValue] = Field(
        default={},
        max_length=128,
        examples=[{"com.example.team": "web"}],
        description="Labels of the image, beside the source and commit that are always there.",
    )
    platforms: list[Annotated[str, Kind("platform", 64)]] = Field(
        default=[],
        max_length=8,
        examples=[["linux/amd64", "linux/arm64"]],
        description="Platforms to build for; several give one manifest list. They select a build "
        "class of such an architecture, or one for each; what its nodes are not, they emulate.",
    )
    submodules: bool = Field(False, description="Fetch Git submodules too.")
    image_tags: list[Annotated[str, Kind("tag", 128)]] = Field(
        default=[],
        max_length=64,
        examples=[["1.4.0", "latest"]],
        description="Tags to publish. None given: the first 12 digits of the commit.",
    )
    registry_url: Annotated[str, Kind("registry-url", 255)] = Field(
        examples=["registry.example.com/team/app"],
        description="Registry and repository to publish to; with image_name, registry and prefix.",
    )
    image_name: Annotated[str, Kind("image-name", 255)] | None = Field(
        None, examples=["app"], description="Joined to registry_url with a slash."
    )
    registry_credentials_path: VaultPath | None = Field(
        None,
        examples=["secret/nomad-build-service/registry/team-web"],
        description="Vault path of username and password to push with.",
    )
    additional_repositories: list[AdditionalRepository] = Field(
        default=[],
        max_length=16,
        examples=[[{"image": "registry.example.org/mirror/app"}]],
        description="Publish the same digest under the same tags there too, or nowhere.",
    )
    test: Test = Field(
        default_factory=Test,
        json_schema_extra={"default": Test().model_dump(exclude_none=True)},
        examples=[{"commands": ["pytest -q"]}],
        description="How the built image is tested before it is published. The seed's names "
        "test_commands and test_timeout are accepted for test.commands and test.timeout.",
    )
    resource_limits: ResourceLimits = Field(
        default_factory=ResourceLimits,
        json_schema_extra={"default": {}},
        examples=[{"memory": 4096}],
        description="What the build, or a phase of it, needs; the smallest build class that has it "
        "is taken. A build or a test that uses more memory than was asked for it is ended.",
    )
    build_class: Annotated[str, Kind("build-class", 64)] | None = Field(
        None,
        alias="class",
        examples=["default"],
        description="The build class by name, instead of by resource_limits and platforms.",
    )
    build_timeout: Timespan | None = Field(
        None, examples=["45m"], description="Time for phase build."
    )
    build_network: Literal["egress", "none"] = Field(
        "egress", description="Network of RUN steps: the public one only, or none."
    )
    keep_intermediate: bool = Field(
        False,
        description="Keep the image in the operator's private registry whatever comes of the "
        "build, named after the job_id; without it, an image that fails its tests is kept.",
    )
    clear_cache: bool = Field(
        False,
        description="Build without the layer cache; the same commit then gives the same digest.",
    )
    cache: bool = Field(
        True,
        description="Share layers with other nodes through the registry cache, where the operator "
        "has set one up (cache_repository). It never fails a build.",
    )
    priority: int | None = Field(
        None, ge=1, le=100, examples=[50], description="Nomad's priority of the build."
    )
    idempotency_key: Annotated[str, Kind("idempotency-key", 255)] | None = Field(
        None,
        examples=["3f2c9a52-8d0f-4a43-9c3c-0a8d53e1a8b0"],
        description="The same key of the same owner returns the same build.",
    )
    webhook_url: Annotated[str, Kind("webhook-url", 2048)] | None = Field(
        None,
        examples=["https://ci.example.com/hooks/build"],
        description="POST the result there when the build has ended. A public address over HTTPS, "
        "or what the operator allows. The URL is stored with the job: no secrets.",
    )
    webhook_secret: Annotated[str, Kind("webhook-secret", 512)] | None = Field(
        None,
        examples=["secret/nomad-build-service/webhook/team-web"],
        description="Vault path, never a value: the key that signs webhooks in its field `secret`.",
    )
    webhook_on_success: bool = Field(True, description="Send it when the build has succeeded.")
    webhook_on_failure: bool = Field(
        True, description="Send it when the build has failed or was killed."
    )
    webhook_headers: dict[HeaderName, HeaderValue] = Field(
        default={},
        max_length=16,
        examples=[{"X-Team": "web"}],
        description="Further headers. They are stored with the job: no credentials.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, given: Any) -> Any:
        return request.fold(given)

    @model_validator(mode="after")
    def _image_is_whole(self) -> JobConfig:
        problems = request.image_problems(
            {"registry_url": self.registry_url, "image_name": self.image_name}
        )
        if problems:
            raise request.RequestError(problems)
        return self

    def document(self) -> dict[str, Any]:
        """The normal document, the same as `contract.request.normalise` gives."""
        given = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return request.complete(given)


def schema_of(model: type[BaseModel], *, nulls: bool = False) -> dict[str, Any]:
    """A model's JSON Schema, without references.

    In what callers send null means absent everywhere, so the schema does not speak of it; an
    answer has nulls where something is not known, and `nulls` keeps them.
    """
    generated = model.model_json_schema(by_alias=True)
    definitions = generated.pop("$defs", {})
    plain: dict[str, Any] = _inline(generated, definitions, nulls)
    return plain


def schema() -> dict[str, Any]:
    """The JSON Schema of a request for a build."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema_of(JobConfig)}


def _inline(part: Any, definitions: dict[str, Any], nulls: bool) -> Any:
    if isinstance(part, list):
        return [_inline(item, definitions, nulls) for item in part]
    if not isinstance(part, dict):
        return part
    part = dict(part)
    if "$ref" in part:
        part = {**definitions[part.pop("$ref").rpartition("/")[2]], **part}
    if "anyOf" in part:
        shapes = part.pop("anyOf")
        others = [shape for shape in shapes if shape != {"type": "null"}]
        if len(others) != 1:
            raise ValueError(f"a field with several shapes needs a Kind: {part}")
        shape = _inline({**others[0], **part}, definitions, nulls)
        return {**shape, "type": [shape["type"], "null"]} if nulls and len(shapes) == 2 else shape
    if isinstance(part.get("title"), str):  # pydantic's titles repeat the names
        del part["title"]
    if "default" in part and part["default"] is None:
        del part["default"]
    if "propertyNames" in part:  # pydantic leaves the type out: a name is always a string
        part["propertyNames"] = {"type": "string", **part["propertyNames"]}
    return {name: _inline(value, definitions, nulls) for name, value in part.items()}


def schema_text() -> str:
    """The schema file as it is committed."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(schema_text() != SCHEMA_PATH.read_text(encoding="utf-8"))
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
