"""Sending to checked addresses, against real servers."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from receiver import receiving

from controller.contract.webhook_fields import parse_url
from controller.webhooks import send

BODY = b'{"x":1}'


def post(url: str, *addresses: str, cacert: str = "") -> send.Response:
    return asyncio.run(send.post(parse_url(url), addresses, {"X-A": "b"}, BODY, cacert))


def test_the_connection_goes_to_the_address_and_the_name_stays_in_the_host() -> None:
    """Two answers of DNS for one name: each connection goes where its own answer said."""
    with receiving("127.0.0.1") as first, receiving("127.0.0.2", _port(first.address)) as second:
        port = _port(first.address)
        url = f"http://rebind.example:{port}/hook?x=1"
        assert post(url, "127.0.0.1").status == 204
        assert (len(first.calls), len(second.calls)) == (1, 0)
        assert post(url, "127.0.0.2").status == 204
        assert (len(first.calls), len(second.calls)) == (1, 1)
        # This name has an address for the system, and it is not asked.
        assert post(f"http://localhost:{port}/", "127.0.0.2").status == 204
        assert (len(first.calls), len(second.calls)) == (1, 2)
    call = second.calls[0]
    assert (call.path, call.body) == ("/hook?x=1", BODY)
    assert call.headers["host"] == f"rebind.example:{port}"
    assert call.headers["x-a"] == "b"


def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    with receiving("127.0.0.1") as one:
        url = f"http://x.example:{_port(one.address)}/"
        assert post(url, "127.0.0.3", "127.0.0.1").status == 204
        with pytest.raises(send.SendError, match=r"no connection to http://x\.example") as caught:
            post(url + "?token=hunter2", "127.0.0.3")
        assert "hunter2" not in str(caught.value)


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with receiving("127.0.0.1") as target, receiving("127.0.0.2") as one:
        one.answers.append((307, {"Location": f"{target.address}/inside"}))
        assert post(one.address, "127.0.0.2").status == 307
        assert len(target.calls) == 0


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving("127.0.0.1") as proxy, receiving("127.0.0.2") as one:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        assert post(one.address, "127.0.0.2").status == 204
        assert (len(proxy.calls), len(one.calls)) == (0, 1)


def test_a_large_answer_is_not_read_to_its_end() -> None:
    with receiving("127.0.0.1") as one:
        one.answer_body = b"x" * (64 << 20)
        began = time.monotonic()
        assert post(one.address, "127.0.0.1").status == 204
        assert time.monotonic() - began < 5


def test_names_are_resolved_as_the_system_does() -> None:
    found = asyncio.run(send.resolve(parse_url("https://localhost/")))
    assert set(found) <= {"127.0.0.1", "::1"}
    assert found
    with pytest.raises(send.SendError, match="cannot be resolved"):
        asyncio.run(send.resolve(parse_url("https://no-such-name.invalid/")))


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """The TLS side of a receiver called hooks.example, and the file of its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = tmp_path / "key.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, str(pem)


def test_tls_is_verified_for_the_name_although_the_address_is_dialled(
    tls: tuple[ssl.SSLContext, str],
) -> None:
    context, cacert = tls
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiving("127.0.0.1", tls=context) as one:
        port = _port(one.address)
        for host in ("hooks.example", "hooks.example."):
            assert post(f"https://{host}:{port}/", "127.0.0.1", cacert=cacert).status == 204
        assert asked == ["hooks.example"] * 2
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(send.SendError, match="certificate is not accepted"):
                post(f"https://{host}:{port}/", "127.0.0.1", cacert=cacert)
        with pytest.raises(send.SendError, match="certificate is not accepted"):
            post(f"https://hooks.example:{port}/", "127.0.0.1")
    assert len(one.calls) == 2


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
