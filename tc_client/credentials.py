# SPDX-License-Identifier: Apache-2.0
"""Reads the client's key, certificates and secret, and refuses what could not authenticate it.

charon would take most of these silently and fail at the gateway; here they fail at the start, with the key
of the configuration. Nothing that is secret enters a message. Certificates come in PEM or DER.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tc_client.config import Identity
from tpkt.daemon.configfile import ConfigError

MAX_FILE = 1 << 20
BEGIN = b"-----BEGIN CERTIFICATE-----"
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Material:
    """What the files held; certificates as DER, the client's own first, the key as it was."""

    certs: tuple[bytes, ...] = ()
    key: bytes = field(default=b"", repr=False)
    cas: tuple[bytes, ...] = ()
    secret: bytes = field(default=b"", repr=False)
    warnings: tuple[ConfigError, ...] = ()


class Reader:
    """Reads the files of one identity; relative names are relative to the configuration's directory."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Prepare to read what `identity`, found in the file at `path`, names."""
        self._path, self._identity = path, identity
        self._warnings: list[ConfigError] = []

    def read(self) -> Material:
        """Read everything. Raises ConfigError at the first file that cannot be used."""
        identity = self._identity
        certs: list[x509.Certificate] = []
        key = b""
        if identity.cert is not None and identity.key is not None:
            certs = self._certificates("cert", identity.cert)
            key = self._bytes("key", identity.key)
            self._belongs(key, certs[0])
            self._private("key", identity.key)
            self._validity(certs[0])
            for name in identity.chain:
                certs += self._certificates("chain", name)
        cas = [certificate for name in identity.cas for certificate in self._certificates("ca", name)]
        for certificate in cas:
            if not _is_ca(certificate):
                subject = certificate.subject.rfc4514_string()
                self._refuse("ca", f"{subject} is not a certification authority", "name the CA's certificate")
        return Material(
            certs=tuple(_der(certificate) for certificate in certs),
            key=key,
            cas=tuple(_der(certificate) for certificate in cas),
            secret=self._secret(),
            warnings=tuple(self._warnings),
        )

    def _certificates(self, key: str, name: str) -> list[x509.Certificate]:
        data = self._bytes(key, name)
        try:
            if BEGIN not in data:
                return [x509.load_der_x509_certificate(data)]
            return [x509.load_pem_x509_certificate(BEGIN + part) for part in data.split(BEGIN)[1:]]
        except ValueError:
            self._refuse(key, f"{name} is no certificate", "name a PEM or DER file of the certificate")

    def _belongs(self, data: bytes, certificate: x509.Certificate) -> None:
        identity = self._identity
        load = (
            serialization.load_pem_private_key
            if b"-----BEGIN" in data
            else serialization.load_der_private_key
        )
        try:
            public = load(data, None).public_key()
        except TypeError:
            cure = "decrypt it (openssl pkey -in … -out …) and chmod 600: a daemon has nobody to ask"
            self._refuse("key", f"{identity.key} is encrypted", cure)
        except ValueError:
            self._refuse(
                "key", f"{identity.key} is no private key", "name a PEM or DER file of the private key"
            )
        if public.public_bytes(*_SPKI) != certificate.public_key().public_bytes(*_SPKI):
            cure = "name the key that the certificate was made for"
            self._refuse("key", f"{identity.key} does not belong to {identity.cert}", cure)

    def _validity(self, certificate: x509.Certificate) -> None:
        now = datetime.datetime.now(datetime.UTC)
        if certificate.not_valid_after_utc < now:
            problem = f"{self._identity.cert} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
            self._warn("cert", problem, "renew it: the gateway will refuse it")
        elif certificate.not_valid_before_utc > now:
            problem = f"{self._identity.cert} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}"
            self._warn("cert", problem, "check the clock of this machine")

    def _secret(self) -> bytes:
        identity = self._identity
        if identity.secret is not None:
            self._private("secret", str(self._path))
            key, raw = "secret", identity.secret.encode()
        elif identity.secret_file is not None:
            key, raw = "secret_file", self._bytes("secret_file", identity.secret_file).rstrip(b"\r\n")
            if not raw:
                self._refuse(key, f"{identity.secret_file} is empty", "write the secret into it")
            self._private(key, identity.secret_file)
        else:
            return b""
        try:
            # The two prefixes of swanctl.conf(5), so that secrets move between the two unchanged.
            if raw.startswith(b"0x"):
                return binascii.unhexlify(raw[2:])
            if raw.startswith(b"0s"):
                return base64.b64decode(raw[2:], validate=True)
        except binascii.Error:
            self._refuse(key, "is neither hex after 0x nor base64 after 0s", "mend it, or drop the prefix")
        return raw

    def _bytes(self, key: str, name: str) -> bytes:
        try:
            with (self._path.parent / name).open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            problem = f"{name} cannot be read ({error.strerror})"
            self._refuse(key, problem, "check the name and its permissions")
        if len(data) > MAX_FILE:
            self._refuse(key, f"{name} is larger than {MAX_FILE} bytes", "name the right file")
        return data

    def _private(self, key: str, name: str) -> None:
        path = self._path.parent / name
        if path.stat().st_mode & 0o004:
            self._warn(key, f"{name} can be read by everybody on this machine", f"chmod 600 {path}")

    def _warn(self, key: str, problem: str, cure: str) -> None:
        self._warnings.append(ConfigError(self._path, f"identity.{key}", problem, cure))

    def _refuse(self, key: str, problem: str, cure: str) -> NoReturn:
        # `from None`: what a parser says about a private key's bytes is nothing for a log.
        raise ConfigError(self._path, f"identity.{key}", problem, cure) from None


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
