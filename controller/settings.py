"""Settings: from the environment, else from Consul KV, else a default; with each value's source.

A setting `nomad_timeout` is `NBS_NOMAD_TIMEOUT` in the environment and
`nomad-build-service/config/nomad_timeout` in Consul KV. Addresses and tokens of the HashiCorp
programs also have the names that those programs read themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from controller import webhook_addresses
from controller.access import nomad_policies, owner_policy
from controller.access.callers import SCOPES
from controller.access.nomad_policies import PolicyGrant
from controller.access.owner_policy import OwnerPolicy
from controller.contract import amounts
from controller.contract.job_id import DispatchedJob, from_nomad

CONFIG_PREFIX = "nomad-build-service/config/"
_SECRET = "secret"  # noqa: S105  the key of a marker, not a secret


class SettingError(ValueError):
    """A setting that cannot be used; the message names it, its source and what it should be."""


def _setting(default: Any, about: str, *, also: tuple[str, ...] = (), secret: bool = False) -> Any:
    return field(default=default, metadata={"help": about, "also": also, _SECRET: secret})


@dataclass(frozen=True, slots=True)
class BuildClass:
    """What one parameterized job reserves for a build. CPU in MHz, memory and disk in MB."""

    name: str
    cpu: int = 1000
    memory: int = 2048
    memory_max: int = 0
    disk: int = 4096
    node_pool: str = ""
    arch: str = ""
    emulates: tuple[str, ...] = ()

    def runs(self, arch: str) -> bool:
        """Whether its nodes are known to run programs of an architecture."""
        return arch in (self.arch, *self.emulates)


_CLASS_FIELDS: dict[str, Callable[[Any], Any]] = {
    "node_pool": str,
    "arch": str,
    "emulates": lambda names: _list(names),
}


def _list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list of architectures")
    return tuple(map(str, value))


def _classes(text: str) -> tuple[BuildClass, ...]:
    known: set[str] = {item.name for item in fields(BuildClass)} - {"name"}
    given = json.loads(text)
    if not isinstance(given, dict) or "default" not in given:
        raise ValueError('must be a JSON object with a class named "default"')
    classes = []
    for name, one in sorted(given.items()):
        values: dict[str, Any] = {
            key: _CLASS_FIELDS.get(key, int)(value)
            for key, value in one.items()
            if key in known and value is not None
        }
        classes.append(BuildClass(name, **values))
    return tuple(classes)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().rstrip("/") for word in text.split(",") if word.strip())


def _webhook_allow(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    webhook_addresses.parse_allowed(words)
    return words


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set. Times in seconds, sizes in bytes."""

    bind: str = _setting("127.0.0.1", "Address that the API and the metrics listen on.")
    port: int = _setting(8080, "Port of the API; 0 takes a free one.")
    metrics_port: int = _setting(9090, "Port of /metrics; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        "Names that callers reach the API by, separated by commas; `*.example.com` is a pattern. "
        "Addresses, localhost and names below .consul need not be named.",
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), "Origins of web pages that may call the API, such as https://ui.example.com."
    )
    public_url: str = _setting(
        "", "URL that callers reach the API by, where it is not the one that they ask for."
    )
    auth_mode: str = _setting(
        "none",
        "`none`: callers need no credential. `jwt`: a token of auth_issuer. `nomad`: a Nomad "
        "token. `jwt,nomad`: either.",
    )
    auth_issuer: str = _setting(
        "", "OpenID Connect issuer of callers' tokens; its keys are found by discovery."
    )
    auth_audience: str = _setting("", "Audience that callers' tokens must have.")
    auth_jwks_url: str = _setting("", "The issuer's keys, where it has no discovery document.")
    auth_cacert: str = _setting(
        "", "Certificate authority of the issuer's HTTPS, where the system does not know it."
    )
    auth_owner_claim: str = _setting("sub", "Claim that names the owner of the caller's builds.")
    auth_scope_claim: str = _setting("scope", "Claim that holds the caller's scopes.")
    auth_required_claims: tuple[str, ...] = _setting(
        (),
        "Claims that tokens must have, as NAME=VALUE separated by commas, such as "
        "nomad_namespace=ci.",
    )
    auth_default_scopes: tuple[str, ...] = _setting(
        (), "Scopes of callers whose token names none, separated by commas."
    )
    auth_nomad_policies: tuple[PolicyGrant, ...] = _setting(
        (),
        "What Nomad's ACL policies and roles allow here, as JSON: "
        '`{"team-*": {"scopes": "build:read build:write", "owner": "*"}}`. Management tokens may '
        "do everything.",
    )
    allow_anonymous: bool = _setting(
        False,
        "Serve callers without a credential (auth_mode none) on an address that others reach too.",
    )
    owner_policies: tuple[OwnerPolicy, ...] = _setting(
        (),
        "What owners may use, as JSON: from an owner's name or pattern to repositories, "
        "registries, vault_paths, protected_tags, max_running and max_queued.",
    )
    git_hosts: tuple[str, ...] = _setting(
        (), "Git servers that builds may fetch from, as patterns separated by commas; empty: all."
    )
    git_protocols: tuple[str, ...] = _setting(
        ("https", "ssh"), "Git transports that builds may use, as the pack's git_protocols."
    )
    audit: str = _setting(
        "changes", "`changes`: audit lines for mutations and refusals. `all`: for reads too."
    )
    log_level: str = _setting("info", "debug, info, warning or error.")
    namespace: str = _setting(
        "default", "Nomad namespace of the build jobs.", also=("NOMAD_NAMESPACE",)
    )
    name_prefix: str = _setting("", "Prefix of all job names, as the pack's name_prefix.")
    build_classes: tuple[BuildClass, ...] = _setting(
        (BuildClass("default"),), "Build classes as JSON, as the pack's build_classes."
    )
    nomad_addr: str = _setting("", "Nomad's HTTP API.", also=("NOMAD_ADDR",))
    nomad_unix_addr: str = _setting(
        "", "Nomad's task API socket, used when nomad_addr is not set.", also=("NOMAD_UNIX_ADDR",)
    )
    nomad_token: str = _setting(
        "", "Token for Nomad; in a task, the workload identity.", also=("NOMAD_TOKEN",), secret=True
    )
    nomad_token_file: str = _setting("", "File that holds the token, read again when it changes.")
    nomad_cacert: str = _setting(
        "", "Certificate authority of Nomad's HTTPS.", also=("NOMAD_CACERT",)
    )
    nomad_client_cert: str = _setting(
        "", "Client certificate, where Nomad asks for one.", also=("NOMAD_CLIENT_CERT",)
    )
    nomad_client_key: str = _setting(
        "", "Key of nomad_client_cert, a file.", also=("NOMAD_CLIENT_KEY",)
    )
    nomad_timeout: float = _setting(10.0, "Time for one answer of Nomad.")
    consul_addr: str = _setting(
        "http://127.0.0.1:8500", "Consul's HTTP API.", also=("CONSUL_HTTP_ADDR",)
    )
    consul_token: str = _setting(
        "",
        "Token for Consul where there is no workload identity.",
        also=("CONSUL_HTTP_TOKEN",),
        secret=True,
    )
    without_consul: bool = _setting(
        False, "Start although settings in Consul cannot be read; owner_policies may be there."
    )
    consul_auth_method: str = _setting(
        "nbs", "Consul auth method that the controller logs in with."
    )
    consul_jwt_file: str = _setting(
        "", "File with the workload identity for Consul; empty: it does not log in."
    )
    consul_cacert: str = _setting(
        "", "Certificate authority of Consul's HTTPS.", also=("CONSUL_CACERT",)
    )
    vault_addr: str = _setting(
        "", "Vault's HTTP API; empty: credential paths are not checked.", also=("VAULT_ADDR",)
    )
    vault_token: str = _setting(
        "",
        "Token for Vault where there is no workload identity.",
        also=("VAULT_TOKEN",),
        secret=True,
    )
    vault_cacert: str = _setting(
        "", "Certificate authority of Vault's HTTPS.", also=("VAULT_CACERT",)
    )
    vault_kv_mount: str = _setting("secret", "Mount of the KV version 2 engine.")
    vault_auth_mount: str = _setting("jwt-nomad", "Mount of Vault's JWT auth method.")
    vault_role: str = _setting("nbs-controller", "Vault role that the controller logs in with.")
    vault_jwt_file: str = _setting("", "File with the workload identity for Vault.")
    max_active_builds: int = _setting(
        0,
        "About how many builds may be queued or running; more are answered with 429. 0: no limit.",
    )
    max_body: int = _setting(1 << 20, "Largest request body that is read.")
    relist_interval: float = _setting(20.0, "Time between two full lists of the builds.")
    secret_wait: float = _setting(
        120.0,
        "How long a task may wait for a secret that Nomad is to fetch for it (`template`) before "
        "the build is ended.",
    )
    keepalive_interval: float = _setting(15.0, "Time between signs of life on a silent stream.")
    stream_buffer: int = _setting(1 << 20, "Log bytes kept for the watchers of one phase.")
    log_answer: int = _setting(2 << 20, "Most log bytes of a phase in one getLogs answer.")
    history_tail: int = _setting(96 << 10, "Log bytes of each phase kept in the history.")
    history_retention: int = _setting(
        90 * 86400, "How long ended builds are kept in the history: 90d, 12h, seconds; 0: for ever."
    )
    retention_interval: float = _setting(3600.0, "Time between two passes of the retention.")
    intermediate_repository: str = _setting(
        "", "Repository of intermediate images, as the pack's intermediate_repository."
    )
    intermediate_retention: int = _setting(
        7 * 86400,
        "How long intermediate images stay after the build's end, if it is not cleaned up before: "
        "7d, 12h, seconds; 0: as long as the build's record.",
    )
    webhook_allow: tuple[str, ...] = _setting(
        (),
        "What webhooks may reach beside public addresses over HTTPS, separated by commas: names, "
        "patterns such as *.example.com, and ranges such as 10.1.0.0/16.",
    )
    webhook_cacert: str = _setting(
        "", "Certificate authority of webhooks' receivers, beside those that the system knows."
    )
    webhook_window: float = _setting(
        600.0, "Time within which a webhook is tried four times before it counts as failed."
    )
    metrics_owners: int = _setting(
        100, "Most owners that metrics name; builds of further ones are counted as _other."
    )
    shutdown_grace: float = _setting(5.0, "Time for open requests to end after SIGTERM.")
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def auth_modes(self) -> tuple[str, ...]:
        """The kinds of credentials that count; none where callers need none."""
        return tuple(mode for mode in _words(self.auth_mode) if mode != "none")

    @property
    def parent_jobs(self) -> dict[str, BuildClass]:
        """The parameterized jobs of the build classes, by Nomad job ID."""
        base = f"{self.name_prefix}image-build"
        return {
            base if one.name == "default" else f"{base}-{one.name}": one
            for one in self.build_classes
        }

    @property
    def job_ids_begin(self) -> str:
        """How the job_ids of this deployment's builds begin, of whichever build class."""
        parent = f"{self.name_prefix}image-build"
        return DispatchedJob(self.namespace, parent, "").job_id.removesuffix(".")

    def child(self, nomad_job_id: str) -> DispatchedJob | None:
        """The build that a job of Nomad is, where it is one of this deployment."""
        try:
            found = from_nomad(self.namespace, nomad_job_id)
        except ValueError:
            return None
        return found if found.parent in self.parent_jobs else None

    def shown(self) -> dict[str, dict[str, Any]]:
        """Every value with its source, secrets masked."""
        result: dict[str, dict[str, Any]] = {}
        for item in _fields():
            value = getattr(self, item.name)
            if item.metadata[_SECRET]:
                value = "(set)" if value else ""
            elif item.name == "build_classes":
                value = [one.name for one in value]
            elif item.name == "auth_nomad_policies":
                value = {
                    one.policy: {"scopes": sorted(one.scopes), "owner": one.owner} for one in value
                }
            elif item.name == "owner_policies":
                value = f"{len(value)} policies"  # whose they are is nobody's business here
            result[item.name] = {"value": value, "source": self.sources[item.name]}
        return result


def load(environ: Mapping[str, str], stored: Mapping[str, str]) -> Settings:
    """Settings from the environment and from what Consul KV holds below CONFIG_PREFIX.

    Raises SettingError for a value that cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for item in _fields():
        names = (f"NBS_{item.name.upper()}", *item.metadata["also"])
        variable = next((name for name in names if environ.get(name)), None)
        if variable:
            text, sources[item.name] = environ[variable], f"environment {variable}"
        elif item.name in stored and not item.metadata[_SECRET]:
            text, sources[item.name] = stored[item.name], f"consul {CONFIG_PREFIX}{item.name}"
        else:
            sources[item.name] = "default"
            continue
        try:
            values[item.name] = _parser(item.name, item.default)(text)
        except (ValueError, TypeError, AttributeError) as error:
            raise SettingError(f"setting {item.name} from {sources[item.name]}: {error}") from error
    settings = Settings(**values, sources=sources)
    _check_authentication(settings)
    return settings


def _check_authentication(settings: Settings) -> None:
    modes = set(settings.auth_modes)
    if settings.auth_mode != "none" and (not modes or not modes <= {"jwt", "nomad"}):
        raise SettingError(
            f"setting auth_mode: {settings.auth_mode!r} is neither none, nor jwt, nor nomad, nor"
            " jwt,nomad"
        )
    if "jwt" in settings.auth_modes:
        if not settings.auth_audience:
            raise SettingError("setting auth_audience: auth_mode jwt needs it")
        if not (settings.auth_issuer or settings.auth_jwks_url):
            raise SettingError("setting auth_issuer: auth_mode jwt needs it, or auth_jwks_url")
    if wrong := [claim for claim in settings.auth_required_claims if "=" not in claim]:
        raise SettingError(f"setting auth_required_claims: {wrong} are not NAME=VALUE")
    if settings.audit not in ("changes", "all"):
        raise SettingError(f"setting audit: {settings.audit!r} is neither changes nor all")
    if unknown := set(settings.auth_default_scopes) - set(SCOPES):
        raise SettingError(
            f"setting auth_default_scopes: {sorted(unknown)} are no scopes; known: {list(SCOPES)}"
        )


def _fields() -> list[Any]:
    return [item for item in fields(Settings) if item.name != "sources"]


def _parser(name: str, default: Any) -> Callable[[str], Any]:
    if name == "build_classes":
        return _classes
    if name == "auth_nomad_policies":
        return nomad_policies.parse
    if name == "owner_policies":
        return owner_policy.parse
    if name == "webhook_allow":
        return _webhook_allow
    if name in ("history_retention", "intermediate_retention"):
        return amounts.age
    if isinstance(default, bool):
        return _flag
    if isinstance(default, int | float):
        return type(default)
    if isinstance(default, tuple):
        return _words
    return str.strip
