"""Where webhooks may go: in every spelling, and in every wrapping, that leads inside."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.addresses import Addresses, ForbiddenAddressError, is_public, literal

INSIDE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.170",
    "192.168.1.1", "192.88.99.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
INSIDE6 = ["::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"]
OUTSIDE = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::8a"]


def wrappings(address: str) -> list[str]:
    """IPv6 addresses by which an IPv4 address can be reached."""
    number = int(ipaddress.IPv4Address(address))
    return [
        f"::ffff:{address}",
        f"::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
        str(ipaddress.IPv6Address((0x0064FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))),
    ]


@pytest.mark.parametrize("address", [*INSIDE, *INSIDE6])
def test_addresses_inside(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_so_in_every_wrapping(address: str) -> None:
    assert [one for one in wrappings(address) if is_public(ipaddress.ip_address(one))] == []


@pytest.mark.parametrize("address", OUTSIDE)
def test_addresses_outside(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_wrapping_opens_what_is_closed(address: ipaddress.IPv4Address) -> None:
    if not is_public(address):
        assert not any(is_public(ipaddress.ip_address(one)) for one in wrappings(str(address)))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001",
     "0177.0.0.01", "127.0.0.1.", "0", "::1", "fe80::1%eth0", "::ffff:7f00:1"],
)  # fmt: skip
def test_every_spelling_of_an_address_is_seen(host: str) -> None:
    address = literal(host)
    assert address is not None
    assert not is_public(address)
    url = f"https://[{host}]/x" if ":" in host else f"https://{host}/x"
    assert "inside the network" in (Addresses(()).problem(url) or "")


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "{:#x}", "0{:o}"]))
def test_numbers_are_addresses(address: ipaddress.IPv4Address, form: str) -> None:
    assert literal(form.format(int(address))) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_name(host: str) -> None:
    found = literal(host)
    assert found is None or found.version in (4, 6)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost"])
def test_this_machine_by_name(host: str) -> None:
    assert Addresses(()).problem(f"https://{host}/")
    with pytest.raises(ForbiddenAddressError):
        asyncio.run(Addresses(()).resolve("localhost", 443))


def test_http_only_where_it_is_allowed() -> None:
    assert "TLS" in (Addresses(()).problem("http://example.com/") or "")
    assert Addresses(()).problem("https://example.com/") is None
    allowed = Addresses(("*.example.com", "10.1.0.0/16", "hooks"))
    for url in ("http://a.example.com/", "http://10.1.2.3/", "http://HOOKS:8080/"):
        assert allowed.problem(url) is None, url
    for url in ("http://example.com/", "http://10.2.0.1/", "https://10.2.0.1/", "http://hooks2/"):
        assert allowed.problem(url), url
    assert Addresses(("localhost",)).problem("http://localhost:1/") is None


def test_a_name_with_one_address_inside_is_not_used_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a rebinding name server answers: one good address, one bad."""

    def answers(*addresses: str) -> None:
        def getaddrinfo(*_: object, **__: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    answers("8.8.8.8", "127.0.0.1")
    with pytest.raises(ForbiddenAddressError):
        asyncio.run(Addresses(()).resolve("rebinding.example", 443))
    answers("8.8.8.8", "1.1.1.1", "8.8.8.8")
    assert asyncio.run(Addresses(()).resolve("fine.example", 443)) == ["8.8.8.8", "1.1.1.1"]
    answers("10.1.2.3")
    assert asyncio.run(Addresses(("10.1.0.0/16",)).resolve("inner.example", 443)) == ["10.1.2.3"]
    assert asyncio.run(Addresses(("inner.example",)).resolve("inner.example", 443))
