# SPDX-License-Identifier: Apache-2.0
"""Reads the keys, certificates and secrets of a gateway's configuration, and refuses unfit ones.

What makes them unfit is the business of `tpkt.daemon.certificates`; which of them a gateway has, and that
its certificate confirms its identity, is decided here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from eseg.config import Config, Connection, TlsCertificate
from eseg.tlskey import unfit
from tpkt.daemon import certificates
from tpkt.daemon.certificates import der
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.material import Files

# Prefixes that name an identity's type (swanctl.conf(5)); a subject has "=" in it.
TYPED_IDENTITIES = ("fqdn:", "rfc822:", "ipv4:", "ipv6:", "dns:", "email:", "asn1dn:", "keyid:", "@")
REFUSED = "clients will refuse it"  # what follows from a certificate of the gateway that is out of date


@dataclass(frozen=True)
class Material:
    """What the files held, by connection name or user id; certificates as DER, keys as they were."""

    certs: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    cas: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    settings: str = field(default="", repr=False)  # may hold secrets of servers
    passwords: dict[str, bytes] = field(default_factory=dict, repr=False)
    # Of TLS, in the order of the configuration: chain and key of each certificate.
    tls: list[tuple[tuple[bytes, ...], bytes]] = field(default_factory=list, repr=False)
    warnings: list[ConfigError] = field(default_factory=list)


class Reader:
    """Reads the files of one configuration; relative names are relative to the configuration's directory."""

    def __init__(self, path: Path, config: Config) -> None:
        """Prepare to read what `config`, found at `path`, names."""
        self._config, self._files = config, Files(path)
        self._material = Material(warnings=self._files.warnings)

    def read(self) -> Material:
        """Read everything. Raises ConfigError at the first file that cannot be used."""
        for index, connection in enumerate(self._config.connection):
            self._local(f"connection[{index}].local", connection)
            self._remote(f"connection[{index}].remote", connection)
        for index, certificate in enumerate(self._config.tls.certificate if self._config.tls else ()):
            self._tls(f"tls.certificate[{index}]", certificate)
        for index, user in enumerate(self._config.user):
            self._material.passwords[user.id] = self._files.secret(f"user[{index}]", user)
        return dataclasses.replace(self._material, settings=self._settings())

    def _settings(self) -> str:
        """Read the operator's own lines of strongswan.conf, which charon's parser will judge."""
        name = self._config.charon.settings_file
        if name is None:
            return ""
        key = "charon.settings_file"
        try:
            return self._files.private(key, name).decode()
        except UnicodeDecodeError:
            self._files.refuse(key, f"{name} is not UTF-8", "save it as UTF-8")

    def _local(self, key: str, connection: Connection) -> None:
        local, files = connection.local, self._files
        if local.auth != "pubkey" or local.cert is None or local.key is None:
            return
        own = certificates.own(files, key, cert=local.cert, key=local.key, chain=local.chain, so_what=REFUSED)
        if local.id is not None:
            self._confirms(f"{key}.id", local.id, local.cert, own.leaf)
        self._material.certs[connection.name] = own.ders
        self._material.keys[connection.name] = own.key

    def _tls(self, key: str, named: TlsCertificate) -> None:
        files = self._files
        own = certificates.own(files, key, cert=named.cert, key=named.key, chain=named.chain, so_what=REFUSED)
        why = unfit(own.leaf.public_key())
        if why:
            cure = "use a P-256, P-384 or Ed25519 key, or RSA of 2048 bits"
            files.refuse(f"{key}.cert", f"{named.cert} has {why}: no TLS client would take it", cure)
        if not certificates.names(own.leaf):
            cure = (
                "have it issued with subjectAltName: clients look for the gateway's name there and only there"
            )
            files.warn(f"{key}.cert", f"{named.cert} carries no name", cure)
        self._material.tls.append((own.ders, own.key))

    def _remote(self, key: str, connection: Connection) -> None:
        remote, files = connection.remote, self._files
        self._material.cas[connection.name] = tuple(
            der(certificate)
            for name in remote.cas
            for certificate in certificates.authorities(files, f"{key}.ca", name, "clients'")
        )
        if remote.secret is not None or remote.secret_file is not None:
            self._material.secrets[connection.name] = files.secret(key, remote)

    def _confirms(self, key: str, wanted: str, cert: str, leaf: x509.Certificate) -> None:
        """An identity that the certificate does not carry: charon would silently use its subject instead."""
        names = certificates.names(leaf)
        typed = wanted.startswith(TYPED_IDENTITIES) or "=" in wanted  # written for charon, read by charon
        if not typed and wanted not in names:
            self._files.refuse(
                key,
                f"`{wanted}` is not in {cert}",
                f"write one of its names: {', '.join(names) or 'it has none, leave id out'}",
            )
