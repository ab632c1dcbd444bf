"""What the webhook fields of a request may be, wherever it comes from.

Only what can be said without looking at the network or at an operator's settings: which addresses
a webhook may reach is decided by `controller.webhook_addresses`. Values are never quoted: URLs and
headers carry credentials against all advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from controller.contract.field_error import FieldError, text_of

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}\Z")
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]\Z")
_TARGET = (
    r"(?P<target>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)
_URL = re.compile(
    rf"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<authority>[^/?#\\]*?)(?::(?P<port>[0-9]{{1,5}}))?"
    rf"{_TARGET}\Z"
)
_FIX = "write https://HOST/PATH, the host in plain ASCII (xn--… for other scripts)"
_VAULT_HINT = "store the key in Vault below MOUNT/nomad-build-service/webhook/ and name that path"
_SECRET = re.compile(
    r"[A-Za-z0-9_@+=.-]+/nomad-build-service/webhook(?:/[A-Za-z0-9_@+=.-]+)+\Z", re.ASCII
)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")
_CREDENTIAL = {"authorization", "cookie", "cookie2", "proxy-authorization", "set-cookie"}
_CREDENTIAL_END = re.compile(r"(?:\A|[_-])(?:token|secret|key|password|apikey|auth)\Z")
_OURS = {"content-type", "user-agent"}
_FRAMING = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
}
_FRAMING_BEGIN = ("proxy-", "sec-", "x-webhook-", "x-forwarded-", "x-real-ip", "x-original-")


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    """A webhook's URL in its parts. `host` is in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """Without path and query, which may hold a credential."""
        return f"{self.scheme}://{self.authority}"


_PORTS = {"https": 443, "http": 80}


def parse_url(value: Any) -> WebhookUrl:
    """Take a webhook's URL apart. Raises FieldError."""
    given = text_of(value)
    match = _URL.match(given)
    if not match:
        raise FieldError("is not an HTTP URL that a webhook can have", _FIX)
    if "@" in match["authority"]:
        raise FieldError(
            "holds a user name or password",
            "take it out; store it as `authorization` in the Vault secret of webhook_secret",
        )
    host = _host(match["authority"].lower())
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise FieldError("has a port that does not exist", _FIX)
    target = match["target"]
    return WebhookUrl(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _host(given: str) -> str:
    """One way to write each host: what resolvers read in several ways is refused."""
    if _IPV6.match(given):
        from ipaddress import IPv6Address  # only here: the runner starts faster without

        try:
            return str(IPv6Address(given[1:-1]))
        except ValueError:
            raise FieldError("has an IPv6 address that is none", _FIX) from None
    host = given.removesuffix(".")
    if len(host) > 253 or not _NAME.match(host):
        raise FieldError("has a host that is neither a name nor an address", _FIX)
    # Resolvers read 127.1, 0x7f.0.0.1 and 2130706433 as addresses too.
    if _NUMBER.match(host.rpartition(".")[2]) and not _IPV4.match(host):
        raise FieldError(
            "has a number for a host", "write an IPv4 address as four decimal numbers, or a name"
        )
    return host


def url(value: Any) -> str:
    """The URL that a webhook is sent to."""
    parse_url(value)
    return text_of(value)


def secret(value: Any) -> str:
    """The Vault path of a webhook's key; a key itself has no such form and is never repeated."""
    path = text_of(value)
    if not _SECRET.match(path) or any(not part.strip(".") for part in path.split("/")):
        raise FieldError(
            "is not a path below MOUNT/nomad-build-service/webhook/",
            f"never write the key itself here: {_VAULT_HINT}",
        )
    return path


def header_name(value: Any) -> str:
    """The name of a header that a caller may set."""
    name = text_of(value)
    lower = name.lower()
    if not _TOKEN.match(name):
        raise FieldError("is not a header's name", "use letters, digits and -")
    if lower in _CREDENTIAL or _CREDENTIAL_END.search(lower):
        raise FieldError(
            "would carry a credential, which anyone could read in the job",
            "store it as `authorization` in the Vault secret of webhook_secret",
        )
    if lower in _FRAMING or lower in _OURS or lower.startswith(_FRAMING_BEGIN):
        raise FieldError("is set by this service or by HTTP itself", "leave it out")
    return name


def header_value(value: Any) -> str:
    """The value of a header: visible ASCII and blanks within."""
    given = text_of(value)
    if not _VALUE.match(given):
        raise FieldError(
            "is empty, or holds a line break or a character outside ASCII",
            "write visible ASCII characters",
        )
    return given
