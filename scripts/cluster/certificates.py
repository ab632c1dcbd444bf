"""A certificate authority of the cluster's own, and certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(days=365)
_AGAIN_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


class Authority:
    """Kept in two files: the certificate for everybody, the key for this user only."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.file = certificate
        self._key_file = key
        if not (key.exists() and certificate.exists()) or self._ends_soon():
            self._make()

    def certificate(self, name: str, *more: str) -> Certificate:
        """Sign a new certificate for a server on loopback (and `more` addresses), or a caller."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.load_pem_x509_certificate(self.file.read_bytes())
        texts = ("127.0.0.1", "::1", *more)
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in texts]
        signed = (
            _builder(name, authority.subject, key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False
            )
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .sign(self._key(), hashes.SHA256())
        )
        return Certificate(
            signed.public_bytes(serialization.Encoding.PEM).decode(), _pem(key).decode()
        )

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "embedded cluster")])
        signed = (
            _builder("embedded cluster", name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        descriptor = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(_pem(key))
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        self.file.chmod(0o644)

    def _ends_soon(self) -> bool:
        authority = x509.load_pem_x509_certificate(self.file.read_bytes())
        now = datetime.datetime.now(datetime.UTC)
        return authority.not_valid_after_utc - now < _AGAIN_BEFORE

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
