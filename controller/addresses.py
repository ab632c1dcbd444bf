"""Which addresses the controller may send to on a caller's word.

A URL that a caller gives must not turn the controller against the inside: the network that it sits
in, its node, the metadata service of its cloud. So a name is resolved once, every address that it
has must be public, and the connection goes to that very address: a second answer of the DNS
changes nothing. What the operator allows (`webhook_allow`) may be private, and may speak http.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from controller.errors import ServiceError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses inside others: what goes there reaches the IPv4 address within (RFC 6052, 3056, 4380).
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Public by their number, inside by what they are: a cloud's own service, protocol assignments.
_INSIDE = (
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("fec0::/10"),
)


class ForbiddenAddressError(ServiceError):
    """The address is inside, and the operator has not allowed it."""

    status = 422
    name = "forbidden_address"


class Addresses:
    """The operator's choice: names (`*.example.com` is a pattern), addresses and ranges (CIDR)."""

    def __init__(self, allow: Iterable[str]) -> None:
        self._names: list[str] = []
        self._ranges: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for one in allow:
            try:
                self._ranges.append(ipaddress.ip_network(one, strict=False))
            except ValueError:
                self._names.append(_plain(one))

    def problem(self, url: str) -> str | None:
        """What can be said against a URL without asking the DNS, or None."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = literal(host)
        if address is not None and not self._may(address):
            return f"{host} is an address inside the network"
        if self._allows(host) or (address is not None and self._allowed_range(address)):
            return None
        if parts.scheme != "https":
            return f"{host} would be sent to without TLS"
        if address is None and (_plain(host) == "localhost" or _plain(host).endswith(".localhost")):
            return f"{host} is this machine"
        return None

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses to connect to. Raises ForbiddenAddressError, OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not self._allows(host):
            for text in addresses:
                # One bad address among good ones is how rebinding begins: none is used then.
                if "%" in text or not self._may(ipaddress.ip_address(text)):
                    raise ForbiddenAddressError(
                        f"{host} resolves to an address inside the network",
                        "let the operator add it to webhook_allow",
                    )
        return addresses

    def _allows(self, host: str) -> bool:
        name = _plain(host)
        return any(fnmatchcase(name, pattern) for pattern in self._names)

    def _allowed_range(self, address: Address) -> bool:
        return any(address in network for network in self._ranges)

    def _may(self, address: Address) -> bool:
        return self._allowed_range(address) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether an address, or each one that is wrapped in it, is of the public internet."""
    return all(
        one.is_global
        and not (one.is_multicast or one.is_reserved or one.is_link_local)
        and not any(one in network for network in _INSIDE)
        for one in _wrapped(address) or [address]
    )


def _wrapped(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that traffic to this address reaches in the end."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in (*_NAT64, _COMPATIBLE)):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def literal(host: str) -> Address | None:
    """The address that a host is in itself, in any spelling that resolvers take (`0x7f.1`)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):
        return None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
