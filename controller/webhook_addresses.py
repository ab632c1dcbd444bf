"""Which addresses a webhook may be sent to. Pure: the same addresses give the same answer.

A webhook makes this service call a URL that a caller chose, from inside the operator's network. So
only public addresses are taken, and whatever wraps an IPv4 address in an IPv6 one is judged by what
it wraps. The lists are IANA's special-purpose registries; Python's own `is_global` differs between
its versions.

What the operator allows: a name (`ci.internal`, `*.ci.internal`) may have private addresses and may
be spoken to without TLS; a range (`10.1.0.0/16`) likewise, whatever its kind. An address of a
cloud's metadata service is reached only by an entry for just that address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from controller.contract.webhook_fields import WebhookUrl

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_ALLOW = "let the operator allow it in webhook_allow"
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\Z")


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# Somebody's own network: what an operator can allow by a name.
_PRIVATE = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
# No service that people mean has one of these: link-local, multicast, documentation, reserved …
_SPECIAL = _networks(
    "0.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_METADATA = {
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host, a public address
        "169.254.169.254",
        "169.254.170.2",  # Amazon ECS
        "169.254.170.23",  # Amazon EKS
        "192.0.0.192",  # Oracle
        "fd00:ec2::23",  # Amazon EKS
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
    )
}
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator allows beside public addresses over HTTPS."""

    names: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def name(self, host: str) -> bool:
        """Whether a host is allowed by its name."""
        return any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
            for pattern in self.names
        )

    def address(self, address: Address) -> bool:
        """Whether an address is in an allowed range."""
        inner = unwrapped(address)
        return any(
            one in network
            for one in (address, inner)
            for network in self.networks
            if one.version == network.version
            and (inner not in _METADATA or network.prefixlen == network.max_prefixlen)
        )


def parse_allowed(entries: Iterable[str]) -> Allowed:
    """The operator's list. Raises ValueError, which names the entry."""
    names, networks = [], []
    for entry in entries:
        text = entry.strip().lower().removesuffix(".")
        try:
            networks.append(ip_network(text))
            continue
        except ValueError as error:
            if "/" in text or ":" in text or not _PATTERN.match(text):
                raise ValueError(
                    f"{entry!r} is neither a name, a pattern such as *.example.com, nor a range "
                    f"such as 10.1.0.0/16: {error}"
                ) from error
        names.append(text)
    return Allowed(tuple(names), tuple(networks))


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in _NAT64 or (address in _COMPATIBLE and number > 1):
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    return address


def refusal(url: WebhookUrl, addresses: Sequence[str], allowed: Allowed) -> str | None:
    """Why a URL whose host has these addresses is not called; None where it is.

    The answer does not repeat the addresses: whoever chose the name may not know them.
    """
    if not addresses:
        return f"{url.host} has no address"
    by_name = allowed.name(url.host)
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError:
            return f"{url.host} has something for an address that is none"
        if getattr(address, "scope_id", None):
            return f"{url.host} has an address of a single link"
        if allowed.address(address):
            continue
        if problem := _not_public(address, by_name=by_name):
            return f"{url.host} has {problem}; use a public address, or {_ALLOW}"
        if url.scheme != "https" and not by_name:
            return f"{url.host} is not reached without TLS; write https, or {_ALLOW}"
    return None


def refusal_before_dns(url: WebhookUrl, allowed: Allowed) -> str | None:
    """What can be said of a URL without asking for its addresses."""
    try:
        ip_address(url.host)
    except ValueError:
        if url.host == "localhost" or url.host.endswith(".localhost"):
            return refusal(url, ["127.0.0.1", "::1"], allowed)
        # A name may turn out to be in an allowed range: delivery knows.
        if url.scheme != "https" and not allowed.name(url.host) and not allowed.networks:
            return f"{url.host} is not reached without TLS; write https, or {_ALLOW}"
        return None
    return refusal(url, [url.host], allowed)


def _not_public(address: Address, *, by_name: bool) -> str | None:
    inner = unwrapped(address)
    if inner in _METADATA:
        return "the address of a cloud's metadata service"
    if any(inner in network for network in _PRIVATE if inner.version == network.version):
        return None if by_name else "a private address"
    special = any(inner in network for network in _SPECIAL if inner.version == network.version)
    if special or (isinstance(inner, IPv6Address) and inner not in _GLOBAL_UNICAST):
        return "an address that is not public"
    return None
