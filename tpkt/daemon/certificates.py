# SPDX-License-Identifier: Apache-2.0
"""Certificates and private keys: read, and refused where they could not authenticate anybody.

charon would take most of these silently and fail at the first peer; here they fail with the key of the
configuration. PEM or DER. Nothing that is secret enters a message.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tpkt.daemon.material import Files

BEGIN = b"-----BEGIN CERTIFICATE-----"
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
Extension = TypeVar("Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class Own:
    """What a daemon proves itself with: its certificate, those between it and a CA, and its key as it was."""

    chain: tuple[x509.Certificate, ...] = ()
    key: bytes = field(default=b"", repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    @property
    def ders(self) -> tuple[bytes, ...]:
        """The whole chain as DER."""
        return tuple(der(certificate) for certificate in self.chain)


def own(files: Files, table: str, *, cert: str, key: str, chain: Sequence[str], so_what: str) -> Own:
    """Read the files that the table `table` names; `so_what` follows from a date that is not right."""
    found = load(files, f"{table}.cert", cert)
    private = private_key(files, f"{table}.key", key, cert, found[0])
    warn_of_dates(files, f"{table}.cert", cert, found[0], so_what)
    for index, name in enumerate(chain):
        found += load(files, f"{table}.chain[{index}]", name)
    return Own(tuple(found), private)


def load(files: Files, key: str, name: str) -> list[x509.Certificate]:
    """Give the certificates in the file `name`, at least one. Raises ConfigError."""
    data = files.read(key, name)
    try:
        if BEGIN not in data:
            return [x509.load_der_x509_certificate(data)]
        return [x509.load_pem_x509_certificate(BEGIN + part) for part in data.split(BEGIN)[1:]]
    except ValueError:
        files.refuse(key, f"{name} is no certificate", "name a PEM or DER file of the certificate")


def authorities(files: Files, key: str, name: str, whose: str) -> list[x509.Certificate]:
    """Give the CA certificates in the file `name`, by which the certificate of `whose` is believed."""
    found = load(files, key, name)
    for certificate in found:
        constraints = _extension(certificate, x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            files.refuse(
                key,
                f"{name} holds a certificate that is no CA ({certificate.subject.rfc4514_string()})",
                f"name the certificate of the authority that issues the {whose}",
            )
        warn_of_dates(files, key, name, certificate, "what it has issued will be refused")
    return found


def private_key(files: Files, key: str, name: str, cert: str, certificate: x509.Certificate) -> bytes:
    """Give the file `name` as it is, the private key of `certificate` from the file `cert`."""
    data = files.private(key, name)
    pem = b"-----BEGIN" in data
    parse = serialization.load_pem_private_key if pem else serialization.load_der_private_key
    try:
        private = parse(data, None)
    except TypeError:  # cryptography's word for "this key needs a password"
        cure = "decrypt it (openssl pkey -in … -out …) and chmod 600: a daemon has nobody to ask"
        files.refuse(key, f"{name} is encrypted", cure)
    except ValueError:
        files.refuse(key, f"{name} is no private key", "name a PEM or DER file of the private key")
    if private.public_key().public_bytes(*_SPKI) != certificate.public_key().public_bytes(*_SPKI):
        cure = "name the key that the certificate was made for"
        files.refuse(key, f"{name} does not belong to {cert}", cure)
    return data


def warn_of_dates(files: Files, key: str, name: str, certificate: x509.Certificate, so_what: str) -> None:
    """Warn when `certificate` is not valid today; `so_what` follows from that."""
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends < now:
        files.warn(key, f"{name} expired on {ends:%Y-%m-%d}", f"renew it: {so_what}")
    elif begins > now:
        problem = f"{name} is valid only from {begins:%Y-%m-%d}"
        files.warn(key, problem, "check the clock of this machine")


def names(certificate: x509.Certificate) -> list[str]:
    """Give the identities that a certificate confirms besides its subject."""
    found = _extension(certificate, x509.SubjectAlternativeName)
    apart = x509.OtherName | x509.DirectoryName
    return [str(name.value) for name in found or () if not isinstance(name, apart)]


def der(certificate: x509.Certificate) -> bytes:
    """Give `certificate` in the form that VICI and files of one certificate have."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """Give an extension; one that cannot be read confirms nothing, as one that is not there."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
