"""Tokens of an issuer with a discovery document and keys behind HTTP, as real ones have."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controller.clients import issuer as issuer_module
from controller.clients.issuer import Issuer
from controller.errors import UnauthenticatedError, UnavailableError

AUDIENCE = "https://builds.example.com/mcp"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key of its own for each name; making one takes most of a second."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Keys:
    """An issuer: what it publishes, and how it signs."""

    url: str = ""
    named: str = ""
    fetched: int = 0
    away: bool = False
    keys: dict[str, Any] = field(default_factory=dict)

    def add(self, kid: str, key: Any) -> None:
        self.keys[kid] = key

    def published(self) -> dict[str, Any]:
        found = []
        for kid, key in self.keys.items():
            algorithm = jwt.algorithms.ECAlgorithm if _is_ec(key) else jwt.algorithms.RSAAlgorithm
            public = json.loads(algorithm.to_jwk(key.public_key()))
            found.append(public | {"kid": kid, "use": "sig", "alg": _algorithm(key)})
        return {"keys": found}

    def token(self, kid: str = "a", key: Any = None, **claims: Any) -> str:
        now = time.time()
        whole = {"iss": self.named, "aud": AUDIENCE, "sub": "somebody", "exp": now + 300} | claims
        present = {name: value for name, value in whole.items() if value is not None}
        signing = key or self.keys[kid]
        return jwt.encode(present, signing, _algorithm(signing), headers={"kid": kid})

    def issuer(self) -> Issuer:
        return Issuer(self.named, AUDIENCE)


def _is_ec(key: Any) -> bool:
    return isinstance(key, ec.EllipticCurvePrivateKey)


def _algorithm(key: Any) -> str:
    return "ES256" if _is_ec(key) else "RS256"


@pytest.fixture
def keys() -> Iterator[Keys]:
    found = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.fetched += 1
            if self.path.endswith("/.well-known/openid-configuration"):
                told: Mapping[str, Any] = {
                    "issuer": found.named,
                    "jwks_uri": f"{found.url}/keys",
                }
            else:
                told = found.published()
            body = json.dumps(told).encode()
            self.send_response(503 if found.away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = found.named = f"http://127.0.0.1:{server.server_address[1]}"
    found.add("a", rsa_key("a"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def claims(issuer: Issuer, token: str) -> Mapping[str, Any]:
    return asyncio.run(issuer.claims(token))


def refused(issuer: Issuer, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as error:
        claims(issuer, token)
    assert token not in error.value.message + error.value.details
    return error.value.message


def test_a_valid_token_tells_its_claims(keys: Keys) -> None:
    assert claims(keys.issuer(), keys.token(sub="x"))["sub"] == "x"


def test_keys_on_curves_do_as_well(keys: Keys) -> None:
    keys.add("b", ec.generate_private_key(ec.SECP256R1()))
    assert claims(keys.issuer(), keys.token("b"))["sub"] == "somebody"


def test_clocks_may_differ_by_a_minute(keys: Keys) -> None:
    now = time.time()
    issuer = keys.issuer()
    assert claims(issuer, keys.token(exp=now - 30))
    assert claims(issuer, keys.token(nbf=now + 30))
    assert "expired" in refused(issuer, keys.token(exp=now - 90)).lower()
    assert "not yet valid" in refused(issuer, keys.token(nbf=now + 90))


def test_what_a_token_must_say(keys: Keys) -> None:
    issuer = keys.issuer()
    assert "exp" in refused(issuer, keys.token(exp=None))
    assert "aud" in refused(issuer, keys.token(aud=None))
    assert "udience" in refused(issuer, keys.token(aud="https://another.example/mcp"))
    assert "udience" in refused(issuer, keys.token(aud=[f"{AUDIENCE}/", AUDIENCE.upper()]))
    assert claims(issuer, keys.token(aud=["https://another.example", AUDIENCE]))
    assert "ssuer" in refused(issuer, keys.token(iss="https://another.example"))
    assert refused(issuer, keys.token(iss=None))


def test_a_signature_by_the_published_key_as_shared_secret_is_refused(keys: Keys) -> None:
    """The classic confusion: what everybody may read is no secret to sign with."""
    public = keys.keys["a"].public_key()
    for encoding, form in (
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.PKCS1),
    ):
        secret = public.public_bytes(encoding, form)
        header = {"alg": "HS256", "typ": "JWT", "kid": "a"}
        parts = [json.dumps(header), json.dumps({"aud": AUDIENCE, "exp": time.time() + 99})]
        signed = ".".join(jwt.utils.base64url_encode(part.encode()).decode() for part in parts)
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signature = jwt.utils.base64url_encode(mac.sign(signed.encode(), secret)).decode()
        assert "HS256" in refused(keys.issuer(), f"{signed}.{signature}")


def test_a_key_under_another_ones_name_is_refused(keys: Keys) -> None:
    forger = rsa_key("forger")
    assert "ignature" in refused(keys.issuer(), keys.token("a", forger))
    keys.add("b", ec.generate_private_key(ec.SECP256R1()))
    assert refused(keys.issuer(), keys.token("a", keys.keys["b"]))


def test_a_new_key_is_found_and_unknown_ones_do_not_flood_the_issuer(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = keys.issuer()
    assert claims(issuer, keys.token())
    stranger = rsa_key("stranger")
    before = keys.fetched
    for number in range(50):
        refused(issuer, keys.token(f"unknown-{number}", stranger))
    assert keys.fetched == before
    monkeypatch.setattr(issuer_module, "_AGAIN", 0.0)
    keys.keys = {"new": rsa_key("new")}
    assert claims(issuer, keys.token("new"))


def test_a_key_that_was_withdrawn_is_refused(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = keys.issuer()
    stolen = keys.token()
    assert claims(issuer, stolen)
    keys.keys = {"new": rsa_key("new")}
    monkeypatch.setattr(issuer_module, "_FRESH", 0.0)
    monkeypatch.setattr(issuer_module, "_AGAIN", 0.0)
    assert "no such key" in refused(issuer, stolen)


def test_a_discovery_document_of_another_issuer_is_not_believed(keys: Keys) -> None:
    issuer = Issuer(keys.url + "/", AUDIENCE)
    with pytest.raises(UnavailableError, match="issuer"):
        claims(issuer, keys.token())


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "x" * 100_000, "eyJhbGciOiJSUzI1NiJ9.e30.", "\x00", "[]"],
)
def test_what_is_no_token(keys: Keys, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        claims(keys.issuer(), token)


def test_known_keys_count_while_the_issuer_is_away_and_it_is_not_asked_by_every_call(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = keys.issuer()
    token = keys.token()
    assert claims(issuer, token)
    keys.away = True
    monkeypatch.setattr(issuer_module, "_FRESH", 0.0)
    monkeypatch.setattr(issuer_module, "_AGAIN", 0.0)
    asked = keys.fetched
    assert claims(issuer, token)
    assert keys.fetched > asked
    monkeypatch.setattr(issuer_module, "_AGAIN", 60.0)
    asked = keys.fetched
    for _ in range(20):
        assert claims(issuer, token)
    assert keys.fetched == asked
    monkeypatch.setattr(issuer_module, "_AGAIN", 0.0)
    monkeypatch.setattr(issuer_module, "_OLDEST", 0.0)
    with pytest.raises(UnavailableError, match="issuer"):
        claims(issuer, token)
