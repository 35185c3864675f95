# SPDX-License-Identifier: Apache-2.0
"""A certificate authority made on the spot: certificates for gateways and clients, good ones and bad ones.

Everything is written as PEM into one directory, keys readable by their owner only. Elliptic keys, because
a lab makes a new PKI in milliseconds with them. Knows nothing of charon or of the daemons' configuration.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)
# Clients of other makers ask a gateway for serverAuth (iOS, Windows) or for this older usage (macOS).
IKE_INTERMEDIATE = ObjectIdentifier("1.3.6.1.5.5.8.2.2")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is: the name in IKE (`id`), the certificate that says so, and its key."""

    id: str
    cert: Path
    key: Path


class Authority:
    """One certificate authority; its own certificate is at `cert`."""

    def __init__(self, directory: Path, name: str = "Lab CA", *, expired: bool = False) -> None:
        """Make the authority's key and certificate; `directory` is created."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._name = _subject(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.cert = directory / f"{_file_name(name)}.pem"
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            _builder(self._name, self._key.public_key(), issuer=self._name, expired=expired)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        _write(self.cert, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def gateway(self, name: str, addresses: Sequence[str] = (), *, expired: bool = False) -> Identity:
        """Certify a gateway: serverAuth, `name` and its addresses as alternative names."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, IKE_INTERMEDIATE]
        return self._issue(name, addresses, usages, expired=expired)

    def client(self, name: str, *, expired: bool = False) -> Identity:
        """Certify a client: clientAuth, `name` as its alternative name."""
        return self._issue(name, (), [ExtendedKeyUsageOID.CLIENT_AUTH], expired=expired)

    def weak(self, name: str) -> Identity:
        """Certify a gateway whose key nobody should trust: RSA of 1024 bits."""
        key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
        return self._issue(name, (), [ExtendedKeyUsageOID.SERVER_AUTH], expired=False, key=key)

    def mismatching(self, identity: Identity) -> Identity:
        """Pair the certificate of `identity` with a key that is not its own."""
        key = self._directory / f"{identity.key.stem}-mismatching.key"
        _write_key(key, ec.generate_private_key(ec.SECP256R1()))
        return Identity(identity.id, identity.cert, key)

    def _issue(
        self,
        name: str,
        addresses: Sequence[str],
        usages: Sequence[ObjectIdentifier],
        *,
        expired: bool,
        key: Key | None = None,
    ) -> Identity:
        key = key or ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_general_name(name)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(_subject(name), key.public_key(), issuer=self._name, expired=expired)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        stem = _file_name(name) + ("-expired" if expired else "")
        identity = Identity(name, self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        _write_key(identity.key, key)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(identity.cert, certificate.public_bytes(serialization.Encoding.PEM))
        return identity


def _builder(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    *,
    issuer: x509.Name,
    expired: bool,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    # A day of tolerance: the clock of a virtual machine may lag behind the one that made the PKI.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - (30 * DAY if expired else DAY))
        .not_valid_after(now - DAY if expired else now + 30 * DAY)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _write_key(path: Path, key: Key) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
