# SPDX-License-Identifier: Apache-2.0
"""Reads keys, certificates and secrets, and refuses what could not authenticate anybody.

charon would take most of these silently and fail at the first client; here they fail at `eseg check`, with
the key of the configuration. Nothing that is secret enters a message.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from eseg.config import Config, Connection, Remote, User
from tpkt.daemon.configfile import ConfigError

MAX_FILE = 1 << 20
# Prefixes that name an identity's type (swanctl.conf(5)); a subject has "=" in it.
TYPED_IDENTITIES = ("fqdn:", "rfc822:", "ipv4:", "ipv6:", "dns:", "email:", "asn1dn:", "keyid:", "@")
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Material:
    """What the files held, by connection name or user id; certificates as DER, keys as they were."""

    certs: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    cas: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    settings: str = field(default="", repr=False)  # may hold secrets of servers
    passwords: dict[str, bytes] = field(default_factory=dict, repr=False)
    warnings: list[ConfigError] = field(default_factory=list)


class Reader:
    """Reads the files of one configuration; relative names are relative to the configuration's directory."""

    def __init__(self, path: Path, config: Config) -> None:
        """Prepare to read what `config`, found at `path`, names."""
        self._path, self._config = path, config
        self._material = Material()

    def read(self) -> Material:
        """Read everything. Raises ConfigError at the first file that cannot be used."""
        for index, connection in enumerate(self._config.connection):
            self._local(f"connection[{index}].local", connection)
            self._remote(f"connection[{index}].remote", connection)
        for index, user in enumerate(self._config.user):
            self._material.passwords[user.id] = self._secret(f"user[{index}]", user)
        return dataclasses.replace(self._material, settings=self._settings())

    def _settings(self) -> str:
        """Read the operator's own lines of strongswan.conf, which charon's parser will judge."""
        name = self._config.charon.settings_file
        if name is None:
            return ""
        key = "charon.settings_file"
        try:
            text = self._bytes(key, name).decode()
        except UnicodeDecodeError:
            self._refuse(key, f"{name} is not UTF-8", "save it as UTF-8")
        self._private_mode(key, name)
        return text

    def _local(self, key: str, connection: Connection) -> None:
        local = connection.local
        if local.auth != "pubkey" or local.cert is None or local.key is None:
            return
        chain = self._certificates(f"{key}.cert", local.cert)
        leaf = chain[0]
        private = self._bytes(f"{key}.key", local.key)
        self._match(f"{key}.key", local.key, private, local.cert, leaf)
        if local.id is not None:
            self._confirms(f"{key}.id", local.id, local.cert, leaf)
        self._validity(f"{key}.cert", local.cert, leaf)
        self._private_mode(f"{key}.key", local.key)
        for index, name in enumerate(local.chain):
            chain += self._certificates(f"{key}.chain[{index}]", name)
        name = connection.name
        self._material.certs[name] = tuple(_der(certificate) for certificate in chain)
        self._material.keys[name] = private

    def _remote(self, key: str, connection: Connection) -> None:
        remote = connection.remote
        found: list[x509.Certificate] = []
        for name in remote.cas:
            for certificate in self._certificates(f"{key}.ca", name):
                if not _is_ca(certificate):
                    self._refuse(
                        f"{key}.ca",
                        f"{name} holds a certificate that is no CA ({certificate.subject.rfc4514_string()})",
                        "name the certificate of the authority that issues the clients'",
                    )
                self._validity(f"{key}.ca", name, certificate)
                found.append(certificate)
        self._material.cas[connection.name] = tuple(_der(certificate) for certificate in found)
        if remote.secret is not None or remote.secret_file is not None:
            self._material.secrets[connection.name] = self._secret(key, remote)

    def _match(self, key: str, name: str, private: bytes, cert: str, leaf: x509.Certificate) -> None:
        try:
            ours = _public_of(private)
        except TypeError:  # cryptography's word for "this key needs a password"
            self._refuse(key, f"{name} is encrypted", "decrypt it: `openssl pkey -in … -out …`, mode 0600")
        except ValueError:
            self._refuse(key, f"{name} is no private key", "name a PEM or DER file of the key")
        if ours != leaf.public_key().public_bytes(*_SPKI):
            self._refuse(
                key, f"{name} is not the key of {cert}", "name the key that belongs to the certificate"
            )

    def _confirms(self, key: str, wanted: str, cert: str, leaf: x509.Certificate) -> None:
        """An identity that the certificate does not carry: charon would silently use its subject instead."""
        names = _names(leaf)
        typed = wanted.startswith(TYPED_IDENTITIES) or "=" in wanted  # written for charon, read by charon
        if not typed and wanted not in names:
            self._refuse(
                key,
                f"`{wanted}` is not in {cert}",
                f"write one of its names: {', '.join(names) or 'it has none, leave id out'}",
            )

    def _validity(self, key: str, name: str, certificate: x509.Certificate) -> None:
        now = datetime.datetime.now(datetime.UTC)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if ends < now:
            self._warn(key, f"{name} expired on {ends:%Y-%m-%d}", "renew it: clients will refuse it")
        elif begins > now:
            problem = f"{name} is valid only from {begins:%Y-%m-%d}"
            self._warn(key, problem, "check the clock of this machine")

    def _certificates(self, key: str, name: str) -> list[x509.Certificate]:
        data = self._bytes(key, name)
        try:
            if b"-----BEGIN" not in data:
                return [x509.load_der_x509_certificate(data)]
            parts = data.split(b"-----BEGIN CERTIFICATE-----")[1:]
            found = [x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----" + part) for part in parts]
        except ValueError:
            found = []
        if not found:
            self._refuse(key, f"{name} is no certificate", "name a PEM or DER file of the certificate")
        return found

    def _secret(self, key: str, holder: Remote | User) -> bytes:
        if holder.secret is not None:
            key = f"{key}.secret"
            self._private_mode(key, str(self._path))
            raw = holder.secret.encode()
        else:
            name = holder.secret_file or ""
            key = f"{key}.secret_file"
            raw = self._bytes(key, name).rstrip(b"\r\n")
            self._private_mode(key, name)
        try:
            # The two prefixes of swanctl.conf(5), so that secrets move between the two unchanged.
            if raw.startswith(b"0x"):
                raw = binascii.unhexlify(raw[2:])
            elif raw.startswith(b"0s"):
                raw = base64.b64decode(raw[2:], validate=True)
        except binascii.Error:
            self._refuse(key, "is neither hex after 0x nor base64 after 0s", "mend it, or drop the prefix")
        if not raw:
            self._refuse(key, "is empty", "write the secret there")
        return raw

    def _bytes(self, key: str, name: str) -> bytes:
        path = self._path.parent / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            cure = "check the name and its permissions"
            self._refuse(key, f"{name} cannot be read ({error.strerror})", cure)
        if len(data) > MAX_FILE:
            self._refuse(key, f"{name} is larger than {MAX_FILE} bytes", "name the right file")
        return data

    def _private_mode(self, key: str, name: str) -> None:
        path = self._path.parent / name
        if path.stat().st_mode & 0o004:
            self._warn(key, f"{name} can be read by everybody on this machine", f"chmod 600 {path}")

    def _warn(self, key: str, problem: str, cure: str) -> None:
        self._material.warnings.append(ConfigError(self._path, key, problem, cure))

    def _refuse(self, key: str, problem: str, cure: str) -> NoReturn:
        # `from None`: what a parser says about a private key's bytes is nothing for a log.
        raise ConfigError(self._path, key, problem, cure) from None


def _public_of(private: bytes) -> bytes:
    """Give the public key that belongs to a private one, in the form certificates hold theirs."""
    if b"-----BEGIN" in private:
        return serialization.load_pem_private_key(private, None).public_key().public_bytes(*_SPKI)
    return serialization.load_der_private_key(private, None).public_key().public_bytes(*_SPKI)


def _names(certificate: x509.Certificate) -> list[str]:
    """Give the identities that a certificate confirms besides its subject."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if not isinstance(name, x509.OtherName | x509.DirectoryName)]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
