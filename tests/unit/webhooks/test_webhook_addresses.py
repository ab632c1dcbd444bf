"""Which addresses webhooks may reach, however they are written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract.field_error import FieldError
from controller.contract.webhook_fields import WebhookUrl, parse_url
from controller.webhook_addresses import (
    Allowed,
    parse_allowed,
    refusal,
    refusal_before_dns,
    unwrapped,
)

NONE = Allowed()
NAMED = WebhookUrl("https", "hooks.example.com", 443, "/")
# Written down apart from the code, from IANA's special-purpose registries.
CLOSED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:10::/28",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]
closed = st.sampled_from(CLOSED).flatmap(
    lambda text: st.integers(0, ip_network(text).num_addresses - 1).map(
        lambda number: ip_network(text)[number]
    )
)
closed_v4 = closed.filter(lambda one: one.version == 4)


def wraps(inner: IPv4Address) -> list[IPv6Address]:
    """Every IPv6 address that stands for an IPv4 address."""
    number = int(inner)
    return [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(number) if number > 1 else IPv6Address("::"),
    ]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_taken_over_https_only(address: str) -> None:
    assert refusal(NAMED, [address], NONE) is None
    plain = WebhookUrl("http", NAMED.host, 80, "/")
    assert "without TLS" in (refusal(plain, [address], NONE) or "")


@given(closed)
def test_no_other_address_is_taken(address: object) -> None:
    assert refusal(NAMED, [str(address)], NONE)
    for public in PUBLIC:
        assert refusal(NAMED, [public, str(address)], NONE)


@given(closed_v4)
def test_a_closed_address_stays_closed_in_any_wrapping(address: IPv4Address) -> None:
    for wrapped in wraps(address):
        assert refusal(NAMED, [str(wrapped)], NONE), wrapped


@given(st.ip_addresses())
def test_an_answer_for_every_address_and_the_same_in_any_spelling(address: object) -> None:
    told = refusal(NAMED, [str(address)], NONE)
    if isinstance(address, IPv6Address):
        assert refusal(NAMED, [address.exploded.upper()], NONE) == told
        # What is reachable in fact is what Python calls global, and less.
        assert told or unwrapped(address).is_global
    elif isinstance(address, IPv4Address):
        assert told or address.is_global
        assert bool(refusal(NAMED, [f"::ffff:{address}"], NONE)) == bool(told)


def test_no_address_a_zone_and_rubbish_are_refused() -> None:
    assert refusal(NAMED, [], NONE)
    assert refusal(NAMED, ["fe80::1%eth0"], parse_allowed(["fe80::/10"]))
    assert refusal(NAMED, ["0x7f.1"], NONE)


def test_the_refusal_does_not_tell_the_address() -> None:
    assert "10.9.8.7" not in (refusal(NAMED, ["10.9.8.7"], NONE) or "10.9.8.7")


def test_a_range_allows_its_addresses_with_and_without_tls() -> None:
    allowed = parse_allowed(["10.1.0.0/16", "192.0.2.7"])
    for scheme in ("http", "https"):
        url = WebhookUrl(scheme, "x.example", 8080, "/")
        assert refusal(url, ["10.1.2.3"], allowed) is None
        assert refusal(url, ["::ffff:10.1.2.3"], allowed) is None
        assert refusal(url, ["192.0.2.7"], allowed) is None
        assert refusal(url, ["10.2.0.1"], allowed)
        assert refusal(url, ["10.1.2.3", "10.2.0.1"], allowed)


def test_a_name_allows_private_addresses_but_not_special_ones() -> None:
    allowed = parse_allowed(["*.ci.internal", "Hook.Internal."])
    for host in ("a.ci.internal", "a.b.ci.internal", "hook.internal"):
        url = WebhookUrl("http", host, 80, "/")
        assert refusal(url, ["10.0.0.1", "fd00::1", "8.8.8.8"], allowed) is None
        for special in (
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "0.0.0.0",
        ):
            assert refusal(url, [special], allowed)
    for host in ("ci.internal", "xci.internal", "a.ci.internal.evil.example", "evilhook.internal"):
        assert refusal(WebhookUrl("https", host, 443, "/"), ["10.0.0.1"], allowed)


def test_metadata_is_reached_by_an_entry_for_just_that_address() -> None:
    wide = parse_allowed(["0.0.0.0/0", "::/0"])
    for metadata in (
        "169.254.169.254",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::23",
        "fd00:ec2::254",
    ):
        assert refusal(NAMED, [metadata], wide)
        assert refusal(NAMED, [metadata], parse_allowed([metadata])) is None
    assert refusal(NAMED, ["::ffff:169.254.169.254"], wide)


@pytest.mark.parametrize(
    "entry", ["10.1.0.0/33", "10.1.2.3/16", "a b", "http://x", "*", "x:80", ""]
)
def test_an_entry_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a name"):
        parse_allowed([entry])


@pytest.mark.parametrize(
    "text",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1:8443/x",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::FFFF:7F00:1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://a.localhost/",
        "HTTPS://127.0.0.1./",
        "https://169.254.169.254/latest/meta-data/",
        "http://8.8.8.8/",
        "http://hooks.example.com/",
    ],
)
def test_what_is_refused_without_dns(text: str) -> None:
    assert refusal_before_dns(parse_url(text), NONE)


def test_what_is_left_to_dns() -> None:
    assert refusal_before_dns(parse_url("https://hooks.example.com/"), NONE) is None
    plain = parse_url("http://hooks.example.com/")
    assert refusal_before_dns(plain, parse_allowed(["10.0.0.0/8"])) is None
    assert refusal_before_dns(plain, parse_allowed(["hooks.example.com"])) is None


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "010.0.0.1",
        "1.2.3.4.5",
        "256.1.1.1",
        "127.0.0.0x1",
        "x.0x",
        "a.1",
        "①②⑦.0.0.1",
        "１２７.0.0.1",  # noqa: RUF001
        "127。0。0。1",
        "127．0.0.1",  # noqa: RUF001
        "bücher.example",
        "ⓛocalhost",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::1",
        "[1::2::3]",
        "[127.0.0.1]",
        "[::ffff:127.1]",
        "%31%32%37.0.0.1",
        "a..b",
        ".a",
        "-a.example",
        "",
        "a b",
        "a\tb",
        "127.0.0.1\\@example.com",
        "example.com#@127.0.0.1",
        "user@127.0.0.1",
        "user:pass@example.com",
        "example.com:0",
        "example.com:65536",
        "example.com:8 0",
        "example.com:",
    ],
)
def test_hosts_that_programs_read_in_different_ways_are_no_hosts(host: str) -> None:
    """They are refused as URLs, or, where they are one clear address, by the address."""
    try:
        url = parse_url(f"https://{host}/")
    except FieldError as error:
        assert "pass" not in str(error).replace("password", "")
        return
    assert host == "127.0.0.1."
    assert refusal_before_dns(url, NONE)


@given(st.text(max_size=40), st.text(max_size=20))
def test_whatever_is_a_url_has_one_plain_host(host: str, rest: str) -> None:
    try:
        url = parse_url(f"https://{host}/{rest}")
    except FieldError:
        return
    assert url.host.isascii()
    assert url.host == url.host.lower()
    assert not set(url.host) & set("@/\\%?# ")
    assert url.target.startswith("/")
    assert url.host.encode("idna")  # what resolving does first, with errors that are no OSError
    if url.host.rpartition(".")[2].isdigit():
        ip_address(url.host)


def test_the_parts_of_a_url() -> None:
    url = parse_url("HTTPS://Xn--Bcher-KVA.Example.:8443?x=1")
    assert url == WebhookUrl("https", "xn--bcher-kva.example", 8443, "/?x=1")
    assert url.authority == "xn--bcher-kva.example:8443"
    assert parse_url("https://[2A00::1]:443/a").authority == "[2a00::1]"
    assert parse_url("http://a:443/").authority == "a:443"
    assert "x=1" not in url.shown
